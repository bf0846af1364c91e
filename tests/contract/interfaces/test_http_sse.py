"""Server-sent events: order, resuming, heartbeats, and how a stream ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.contract.interfaces.quiet import quiet_thread
from tests.support.hand_clock import PATIENCE_S
from tests.support.hub import RunningHub, running_hub
from tests.support.stored import SPOIL_EVENTS, change_rows


@dataclass
class ServerSentEvent:
    """One event as a browser gets it."""

    name: str
    id: int | None
    data: dict[str, Any]
    retry_ms: int | None


@asynccontextmanager
async def answer(
    hub: RunningHub,
    thread: str,
    *,
    accept: str = "text/event-stream",
    last_id: str | None = None,
    query: str = "",
) -> AsyncIterator[httpx.Response]:
    """The answer of the stream's address, its body still to be read."""
    headers = {"Authorization": f"Bearer {hub.token()}", "Accept": accept}
    if last_id is not None:
        headers["Last-Event-ID"] = last_id
    async with (
        httpx.AsyncClient(base_url=hub.http, timeout=60, trust_env=False) as http,
        http.stream("GET", f"/api/refinements/{thread}/events{query}", headers=headers) as streamed,
    ):
        yield streamed


async def events(streamed: httpx.Response) -> AsyncIterator[ServerSentEvent]:
    """The events, as they come."""
    rest = ""
    async for text in streamed.aiter_text():
        *blocks, rest = (rest + text).split("\n\n")
        for block in blocks:
            fields = dict(line.split(": ", 1) for line in block.split("\n"))
            seq = int(fields["id"]) if "id" in fields else None
            retry = int(fields["retry"]) if "retry" in fields else None
            yield ServerSentEvent(fields["event"], seq, json.loads(fields["data"]), retry)
    assert rest == ""


async def test_a_stream_begins_with_a_hello_and_ends_after_the_terminal_event(
    hub: RunningHub, thread: str
) -> None:
    async with answer(hub, thread) as streamed:
        assert streamed.status_code == 200
        assert streamed.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert "no-transform" in streamed.headers["cache-control"]
        found = [event async for event in events(streamed)]
    hello, *rest = found
    assert (hello.name, hello.id) == ("hello", None)
    assert hello.data == {"epoch": 1, "last_seq": 52, "floor": 1, "recovered": True}
    assert [event.id for event in rest] == [event.data["seq"] for event in rest] == list(range(1, 53))
    assert rest[0].name == "run_started"
    assert rest[-1].name == "terminal"
    assert all(event.name in event.data for event in rest)


async def test_a_browser_that_comes_back_gets_what_follows_the_last_event_it_had(
    hub: RunningHub, thread: str
) -> None:
    for last_id, query, first in (
        ("1", "", 2),
        ("17", "", 18),
        ("51", "", 52),
        # The address stays that of the first time; the header is newer.
        ("30", "?after=7", 31),
        ("0", "?after=7", 8),
        ("", "?after=7", 8),
    ):
        async with answer(hub, thread, last_id=last_id, query=query) as streamed:
            found = [event.id async for event in events(streamed)]
        assert found == [None, *range(first, 53)], (last_id, query)


async def test_a_browser_that_has_the_last_event_is_asked_not_to_reconnect(
    hub: RunningHub, thread: str
) -> None:
    async with answer(hub, thread, last_id="52") as streamed:
        assert streamed.status_code == 204
        assert await streamed.aread() == b""
    # A cursor in the address does not come from a browser that resumes by itself.
    async with answer(hub, thread, query="?after=52") as streamed:
        assert [event.name async for event in events(streamed)] == ["hello"]


async def test_what_is_wrong_is_answered_as_a_problem(hub: RunningHub, thread: str) -> None:
    for last_id, query, status, code in (
        ("53", "", 410, "cursor_out_of_range"),
        ("x", "", 400, "invalid_argument"),
        ("-1", "", 400, "invalid_argument"),
        (None, "?after=x", 400, "invalid_argument"),
    ):
        async with answer(hub, thread, last_id=last_id, query=query) as streamed:
            told = json.loads(await streamed.aread())
            assert streamed.headers["content-type"] == "application/problem+json"
        assert (streamed.status_code, told["code"]) == (status, code)
        if status == 400:
            assert told["fields"].keys() == {"Last-Event-ID" if last_id else "after"}


@pytest.mark.parametrize(
    ("accept", "streams"),
    [
        ("text/event-stream", True),
        ("text/event-stream, application/json;q=0.5", True),
        ("application/json, text/event-stream;q=0.5", False),
        ("application/json", False),
        ("*/*", False),
        ("text/html", False),
    ],
)
async def test_who_prefers_a_stream_gets_one(
    hub: RunningHub, thread: str, accept: str, streams: bool
) -> None:
    async with answer(hub, thread, accept=accept) as answered:
        await answered.aread()
        assert answered.headers["content-type"].startswith("text/event-stream") == streams


async def test_a_quiet_stream_gives_signs_of_life_that_move_no_cursor(database: str) -> None:
    async with running_hub(database, heartbeat_s=0.1) as hub:
        thread = await quiet_thread(hub)
        async with asyncio.timeout(PATIENCE_S), answer(hub, thread, query="?after=1") as streamed:
            beats = []
            async for event in events(streamed):
                if event.name == "heartbeat" and event.data["last_seq"] == 11:
                    beats.append(event)
                if len(beats) == 2:
                    break
        assert all(beat.id is None and beat.data == {"last_seq": 11, "progress": ""} for beat in beats)
        async with asyncio.timeout(PATIENCE_S):
            while hub.core.broadcaster.readers:
                await asyncio.sleep(0.01)


async def test_a_stopping_hub_sends_browsers_elsewhere_then_ends_the_stream_properly(database: str) -> None:
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(running_hub(database, drain_s=0.3))
        thread = await quiet_thread(hub)
        async with asyncio.timeout(PATIENCE_S), answer(hub, thread) as streamed:
            stopping: asyncio.Task[None] | None = None
            found = []
            async for event in events(streamed):
                found.append(event)
                if event.id == 11:
                    stopping = asyncio.create_task(stack.aclose())
            assert stopping is not None
            await stopping
    assert [event.id for event in found] == [None, *range(1, 12), None]
    last = found[-1]
    assert last.name == "reconnect"
    assert last.retry_ms == last.data["after_ms"] <= 300


async def test_a_fault_cuts_the_stream_so_that_it_is_not_taken_for_its_end(
    hub: RunningHub, thread: str
) -> None:
    await change_rows(hub.core.pool, SPOIL_EVENTS, UUID(thread))
    async with answer(hub, thread) as streamed:
        with pytest.raises(httpx.TransportError):
            await streamed.aread()
