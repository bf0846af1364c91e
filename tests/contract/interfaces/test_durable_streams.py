"""A refinement's journal as a durable stream: what its address answers, mode by mode."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any
from uuid import UUID

import httpx
import pytest

from server.wire.durable_streams import offset_of, stream_cursor
from tests.support.hand_clock import until
from tests.support.http_interface import problem
from tests.support.hub import RunningHub, finished, running_hub, start
from tests.support.tokens import bearer

QUIET = "[[replay:short_run silent=10]]"
LAST, BEFORE_QUIET = 52, 11


@pytest.fixture
async def hub(database: str) -> AsyncIterator[RunningHub]:
    async with running_hub(database, heartbeat_s=0.1) as running:
        yield running


@pytest.fixture
async def thread(hub: RunningHub) -> str:
    """The address of a finished refinement's stream."""
    return await ended(hub, "[[replay:short_run]]")


@pytest.fixture
async def quiet(hub: RunningHub) -> str:
    """The address of the stream of a run that is under way and says nothing more after event 11."""
    async with hub.client() as client:
        started = await start(client, QUIET)
    await until(lambda: hub.core.journal.queued_bytes == 0)
    address = f"/api/refinements/{started['thread_id']}/stream"
    async with httpx.AsyncClient(
        base_url=hub.http, headers=bearer(hub.token()), trust_env=False, timeout=60
    ) as client:
        offset = "-1"
        while offset != offset_of(BEFORE_QUIET):
            answer = await client.get(f"{address}?offset={offset}&live=long-poll")
            offset = answer.headers["Stream-Next-Offset"]
    return address


async def ended(hub: RunningHub, prompt: str) -> str:
    async with hub.client() as client:
        started = await start(client, prompt)
        await finished(client, started)
    return f"/api/refinements/{started['thread_id']}/stream"


def state(answer: httpx.Response) -> tuple[int, str | None, bool, bool]:
    """Status, next offset, whether up to date, whether closed."""
    flags = [answer.headers.get(name) == "true" for name in ("Stream-Up-To-Date", "Stream-Closed")]
    return answer.status_code, answer.headers.get("Stream-Next-Offset"), flags[0], flags[1]


def seqs(answer: httpx.Response) -> list[int]:
    return [each["seq"] for each in answer.json()]


def sent(text: str) -> list[tuple[str, Any]]:
    """The named events of a stream, with what they hold."""
    found = re.findall(r"^event: (\w+)\ndata: (.*)\n\n", text, re.MULTILINE)
    assert not re.sub(r"event: \w+\ndata: .*\n\n|: heartbeat\n\n", "", text)
    return [(name, json.loads(data)) for name, data in found]


async def test_the_whole_stream_of_a_finished_run_is_its_events_in_order(
    http: httpx.AsyncClient, thread: str
) -> None:
    events = (await http.get(thread.replace("/stream", "/events?limit=1000"))).json()["items"]
    for query in ("", "?offset=-1", "?offset=0000000000", "?offset=-1&live=long-poll"):
        answer = await http.get(thread + query)
        assert state(answer) == (200, offset_of(LAST), True, True)
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == events


async def test_reading_on_from_any_offset_gives_what_follows_it(http: httpx.AsyncClient, thread: str) -> None:
    for seq in (1, 17, 51):
        answer = await http.get(thread, params={"offset": offset_of(seq)})
        assert (seqs(answer), state(answer)) == (
            list(range(seq + 1, LAST + 1)),
            (200, offset_of(LAST), True, True),
        )
    answer = await http.get(thread, params={"offset": offset_of(LAST)})
    assert (answer.text, state(answer)) == ("[]", (200, offset_of(LAST), True, True))


async def test_a_long_stream_comes_in_pages_that_say_when_the_end_is_reached(
    hub: RunningHub, http: httpx.AsyncClient
) -> None:
    address = await ended(hub, "[[replay:long_run]]")
    offset, found, states = "-1", [], []
    while not (states and states[-1][3]):
        answer = await http.get(address, params={"offset": offset})
        found += seqs(answer)
        states.append(state(answer))
        offset = answer.headers["Stream-Next-Offset"]
    assert found == list(range(1, 2260))
    assert [each[2:] for each in states] == [(False, False)] * (len(states) - 1) + [(True, True)]
    assert len(states) > 2
    assert sorted(each[1] or "" for each in states) == [each[1] for each in states]


async def test_the_end_of_the_stream_is_told_without_events(
    http: httpx.AsyncClient, thread: str, quiet: str
) -> None:
    for address, seq, closed in ((thread, LAST, True), (quiet, BEFORE_QUIET, False)):
        for query in ("", "?offset=now", "?offset=-1&live=sse"):
            answer = await http.head(address + query)
            assert (answer.content, state(answer)) == (b"", (200, offset_of(seq), True, closed))
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["cache-control"] == "no-store"
        answer = await http.get(address, params={"offset": "now"})
        assert (answer.text, state(answer)) == ("[]", (200, offset_of(seq), True, closed))
        assert answer.headers["cache-control"] == "no-store"
        assert "etag" not in answer.headers


async def test_a_stream_is_closed_exactly_when_its_run_has_ended(
    hub: RunningHub, http: httpx.AsyncClient, quiet: str
) -> None:
    tail = {"offset": offset_of(BEFORE_QUIET)}
    opened = await http.get(quiet, params=tail)
    assert (opened.text, state(opened)) == ("[]", (200, offset_of(BEFORE_QUIET), True, False))
    waiting = asyncio.create_task(http.get(quiet, params=tail | {"live": "long-poll"}))
    await until(lambda: hub.core.broadcaster.readers == 1)
    await http.post(quiet.replace("/stream", "/cancel"))
    answer = await waiting
    events = answer.json() if answer.content else []
    while not state(answer)[3]:
        answer = await http.get(quiet, params={"offset": answer.headers["Stream-Next-Offset"]})
        events += answer.json()
    assert "terminal" in events[-1]
    # The end of the open stream had another etag.
    final = await http.get(quiet, params={"offset": "-1"}, headers={"If-None-Match": opened.headers["etag"]})
    assert final.status_code == 200


# --- Caching -------------------------------------------------------------------------------------


async def test_what_the_caller_has_is_not_sent_again(
    http: httpx.AsyncClient, thread: str, quiet: str
) -> None:
    for address in (thread, quiet):
        for query in (
            "",
            "?offset=0000000004",
            f"?offset={(await http.head(address)).headers['Stream-Next-Offset']}",
        ):
            first = await http.get(address + query)
            for etag in (first.headers["etag"], f'"x", W/{first.headers["etag"]}', "*"):
                again = await http.get(address + query, headers={"If-None-Match": etag})
                assert (again.status_code, again.content) == (304, b"")
                for name in ("etag", "cache-control", "vary", "stream-next-offset", "stream-up-to-date"):
                    assert again.headers.get(name) == first.headers.get(name), name
                assert again.headers.get("stream-closed") == first.headers.get("stream-closed")
            other = await http.get(address + query, headers={"If-None-Match": '"0-9-12:c", "x"'})
            assert other.json() == first.json()


async def test_pages_of_ended_runs_are_kept_by_the_callers_cache_alone_and_others_are_asked_for_again(
    http: httpx.AsyncClient, thread: str, quiet: str
) -> None:
    for address, expected in ((thread, "private, max-age=86400, immutable"), (quiet, "private, no-cache")):
        answer = await http.get(address)
        assert answer.headers["cache-control"] == expected
        # Another caller of the same browser may see other events, or none.
        assert "Authorization" in answer.headers["vary"]


async def test_the_etag_changes_with_events_and_with_the_end(
    hub: RunningHub, http: httpx.AsyncClient, quiet: str
) -> None:
    opened = (await http.get(quiet)).headers["etag"]
    await http.post(quiet.replace("/stream", "/cancel"))
    await hub.core.runner.wait(UUID(quiet.split("/")[3]))
    closed = await http.get(quiet, headers={"If-None-Match": opened})
    assert (closed.status_code, closed.headers["etag"] != opened) == (200, True)


async def test_a_page_that_the_caller_has_of_an_ended_run_is_not_read(
    database: str, hub: RunningHub, http: httpx.AsyncClient, thread: str
) -> None:
    etag = (await http.get(thread)).headers["etag"]
    await hub.core.pool.execute("DELETE FROM events")
    async with running_hub(database) as other:
        address = other.http + thread
        again = await http.get(address, headers={"If-None-Match": etag})
        assert state(again) == (304, offset_of(LAST), True, True)
        assert (await http.get(address)).text == "[]"


# --- Live ----------------------------------------------------------------------------------------


async def test_a_long_poll_ends_without_events_when_there_are_none(
    http: httpx.AsyncClient, thread: str, quiet: str
) -> None:
    for query in (f"offset={offset_of(BEFORE_QUIET)}", "offset=now"):
        answer = await http.get(f"{quiet}?{query}&live=long-poll&timeout=1")
        assert (answer.content, state(answer)) == (b"", (204, offset_of(BEFORE_QUIET), True, False))
        assert answer.headers["Stream-Cursor"].isdigit()
        assert answer.headers["cache-control"] == "no-store"
    for query in (f"offset={offset_of(LAST)}", "offset=now"):
        async with asyncio.timeout(55):  # less than the poll would wait
            answer = await http.get(f"{thread}?{query}&live=long-poll&timeout=60")
        assert (answer.content, state(answer)) == (b"", (204, offset_of(LAST), True, True))


async def test_server_sent_events_carry_every_message_and_the_state_after_them(
    http: httpx.AsyncClient, thread: str
) -> None:
    answer = await http.get(f"{thread}?offset={offset_of(7)}&live=sse")
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = sent(answer.text)
    assert [each["seq"] for name, data in found if name == "data" for each in data] == list(
        range(8, LAST + 1)
    )
    for (name, data), (following, control) in pairwise(found):
        if name == "data":
            assert (following, control["streamNextOffset"]) == ("control", offset_of(data[-1]["seq"]))
    *others, (_, last) = found
    assert last == {"streamNextOffset": offset_of(LAST), "upToDate": True, "streamClosed": True}
    assert all("streamCursor" in data for name, data in others if name == "control")


async def test_server_sent_events_at_the_end_of_a_closed_stream_say_so_and_end(
    http: httpx.AsyncClient, thread: str
) -> None:
    for offset in (offset_of(LAST), "now"):
        answer = await http.get(f"{thread}?offset={offset}&live=sse")
        closed = {"streamNextOffset": offset_of(LAST), "upToDate": True, "streamClosed": True}
        assert sent(answer.text) == [("control", closed)]


async def test_server_sent_events_end_after_a_while_and_go_on_at_the_offset_that_they_gave(
    http: httpx.AsyncClient, quiet: str
) -> None:
    # On a busy machine, little time may be over before a heartbeat.
    for seconds in (1, 5, 25):
        answer = await http.get(f"{quiet}?offset=-1&live=sse&timeout={seconds}")
        if ": heartbeat" in answer.text:
            break
    (_, first), *_, (_, control) = sent(answer.text)
    assert first[0]["seq"] == 1
    assert control["streamNextOffset"] == offset_of(BEFORE_QUIET)
    assert control["upToDate"] is True
    assert ": heartbeat" in answer.text
    again = await http.get(
        quiet,
        params={
            "offset": control["streamNextOffset"],
            "live": "sse",
            "timeout": 1,
            "cursor": control["streamCursor"],
        },
    )
    ((name, state_again),) = sent(again.text)
    assert (name, state_again["streamNextOffset"]) == ("control", offset_of(BEFORE_QUIET))
    assert int(state_again["streamCursor"]) > int(control["streamCursor"])


def test_cursors_count_intervals_and_never_go_back() -> None:
    assert stream_cursor(None, 1_728_432_000 + 39) == "1"
    assert stream_cursor("0", 1_728_432_000 + 39) == "1"
    assert stream_cursor("x", 1_728_432_000 + 39) == "1"
    for echoed in ("1", "2", "12345"):
        assert int(echoed) < int(stream_cursor(echoed, 1_728_432_000 + 39)) <= int(echoed) + 180


# --- Refusals ------------------------------------------------------------------------------------


#: Malformed queries, and the field that each is refused for.
MALFORMED = (
    ("offset=", "offset"),
    ("offset=x", "offset"),
    ("offset=NOW", "offset"),
    ("offset=-2", "offset"),
    ("offset=1,2", "offset"),
    ("offset=1%202", "offset"),
    ("offset=%D9%A1", "offset"),
    ("offset=4294967296", "offset"),
    ("offset=00000000001", "offset"),
    ("offset=1&offset=2", "offset"),
    ("live=sse", "offset"),
    ("live=long-poll", "offset"),
    ("offset=-1&live=", "live"),
    ("offset=-1&live=websocket", "live"),
    ("offset=-1&live=sse&timeout=0", "timeout"),
    ("offset=-1&live=sse&timeout=61", "timeout"),
    (f"offset=-1&live=sse&cursor={'9' * 65}", "cursor"),
)


async def test_a_malformed_query_is_refused_by_field(http: httpx.AsyncClient, thread: str) -> None:
    for query, field in MALFORMED:
        answer = await http.get(f"{thread}?{query}")
        assert (answer.status_code, problem(answer)["fields"].keys()) == (400, {field}), query


async def test_offsets_outside_the_journal_are_gone(
    hub: RunningHub, http: httpx.AsyncClient, thread: str
) -> None:
    for live in ("", "&live=long-poll", "&live=sse"):
        answer = await http.get(f"{thread}?offset={offset_of(LAST + 1)}{live}")
        assert (answer.status_code, problem(answer)["code"]) == (410, "cursor_out_of_range")


async def test_nobody_writes_a_stream(http: httpx.AsyncClient, thread: str) -> None:
    for method in ("PUT", "POST", "DELETE", "PATCH"):
        answer = await http.request(method, thread, json=[{}])
        assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


async def test_a_share_link_reads_the_stream_after_its_cursor(
    hub: RunningHub, http: httpx.AsyncClient, thread: str
) -> None:
    refinement = (await http.get(thread.removesuffix("/stream"))).json()
    shares = f"/api/proposals/{refinement['proposal_id']}/shares"
    secret = (await http.post(shares, json={"after_seq": 40})).json()["secret"]
    async with httpx.AsyncClient(
        base_url=hub.http, headers=bearer(secret), trust_env=False, timeout=60
    ) as reader:
        for query in ("", "?offset=-1", f"?offset={offset_of(3)}"):
            whole = await reader.get(thread + query)
            assert seqs(whole) == list(range(41, LAST + 1))
        # The owner's etag names another page.
        owners = (await http.get(thread)).headers["etag"]
        assert (await reader.get(thread, headers={"If-None-Match": owners})).status_code == 200


async def test_a_page_of_another_origin_may_read_the_streams_headers(
    database: str,
) -> None:
    async with running_hub(database, allowed_origins=("https://app.example",)) as hub:
        address = await ended(hub, "[[replay:short_run]]")
        async with httpx.AsyncClient(
            base_url=hub.http, headers=bearer(hub.token()), trust_env=False, timeout=60
        ) as http:
            answer = await http.get(address, headers={"Origin": "https://app.example"})
        exposed = answer.headers["access-control-expose-headers"].split(", ")
        assert {"ETag", "Stream-Next-Offset", "Stream-Cursor", "Stream-Up-To-Date", "Stream-Closed"} <= set(
            exposed
        )
