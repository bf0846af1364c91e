"""What clients with their library's default limits can read: everything, over every transport."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from google.protobuf.json_format import ParseDict
from websockets.asyncio.client import connect

from server.wire import messages as m
from tests.support.hub import RunningHub, finished, running_hub, start
from tests.support.runtime import END, ScriptedRuntime, files, serve_runtime, state_frame, token_frame
from tests.support.tokens import bearer

#: What Python's `websockets` takes by default.
MAX_SIZE = 1 << 20
COMPLETED = {"status": "completed"}
#: Frames of events above that, by what is large in them.
LARGE: dict[str, dict[str, Any]] = {
    "a state of 6 MB": state_frame(files=files(**{f"f{n}": f"{n}" * 100_000 for n in range(10, 40)})),
    "one file of 5 MiB": state_frame(files=files(a="x" * (5 << 20))),
    "a file that fits, but not its JSON": state_frame(files=files(a="\x01" * 600_000)),
    "a message of 2 MB": state_frame(messages="[AIMessage(content='" + "é" * 1_000_000 + "', id='1')]"),
    "a token": token_frame("€" * 500_000),
    "an unknown frame": {"event_type": "on_custom_event", "data": {"value": "x" * (2 << 20)}},
    "many todos": state_frame(todos=[{"content": "x", "status": "y"}] * 100_000),
}


@asynccontextmanager
async def run_of(database: str, *frames: dict[str, Any]) -> AsyncIterator[tuple[RunningHub, dict[str, Any]]]:
    """The hub, and a finished run of these frames."""
    script = ScriptedRuntime([[*frames, END]], [COMPLETED])
    async with serve_runtime(script) as url, running_hub(database, runtime_url=url) as hub:
        async with hub.client() as client:
            started = await start(client, "x")
            await finished(client, started)
        yield hub, started


async def socket_events(
    hub: RunningHub, thread_id: str, subprotocol: str, query: str = "", max_size: int | None = MAX_SIZE
) -> list[m.Event]:
    """The events of a WebSocket, in a client that takes messages of `max_size` bytes."""
    events: list[m.Event] = []
    address = f"ws{hub.http.removeprefix('http')}/api/ws/refinements/{thread_id}?{query}"
    async with connect(
        address,
        additional_headers=bearer(hub.token()),
        subprotocols=[subprotocol],  # type: ignore[list-item]
        max_size=max_size,
        proxy=None,
    ) as socket:
        async for message in socket:
            if isinstance(message, bytes):
                events += m.WatchRefinementResponse.FromString(message).batch.events
            else:
                events += ParseDict(json.loads(message), m.WatchRefinementResponse()).batch.events
        assert socket.close_code == 1000
    return events


@pytest.mark.parametrize("large", LARGE)
async def test_a_run_with_a_large_event_is_read_over_a_websocket(database: str, large: str) -> None:
    async with run_of(database, token_frame("a"), LARGE[large], token_frame("b")) as (hub, started):
        thread = started["thread_id"]
        wholes = await socket_events(hub, thread, "ideo.v1.proto", "max_message_bytes=0", max_size=None)
        assert not any(event.omitted_bytes or event.truncated for event in wholes)
        for subprotocol in ("ideo.v1", "ideo.v1.proto"):
            events = await socket_events(hub, thread, subprotocol)
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
            for event, whole in zip(events, wholes, strict=True):
                if event.omitted_bytes:
                    shown = m.Event.FromString(event.SerializeToString())
                    shown.ClearField("omitted_bytes")
                    assert event.WhichOneof("kind") == whole.WhichOneof("kind")
                    assert shown.ByteSize() + event.omitted_bytes == whole.ByteSize()
                else:
                    assert event == whole
            assert sum(bool(event.omitted_bytes) for event in events) <= 1
            for after in range(len(events)):
                assert await socket_events(hub, thread, subprotocol, f"after={after}") == events[after:]


async def test_what_a_websocket_leaves_out_is_read_over_http(database: str) -> None:
    async with run_of(database, LARGE["a state of 6 MB"]) as (hub, started):
        thread = started["thread_id"]
        [cut] = [event for event in await socket_events(hub, thread, "ideo.v1") if event.omitted_bytes]
        omitted = [file for file in cut.state_update.files if file.content_omitted]
        assert omitted
        async with httpx.AsyncClient(base_url=hub.http, headers=bearer(hub.token()), timeout=60) as http:
            for file in omitted:
                answer = await http.get(f"/api/refinements/{thread}/files/{file.sha256}")
                assert answer.text == file.path[2:4] * 100_000
            page = await http.get(f"/api/refinements/{thread}/events?after={cut.seq - 1}&limit=1")
        [whole] = page.json()["items"]
        assert ParseDict(whole, m.Event()).ByteSize() > 6_000_000 > cut.ByteSize()


async def test_small_events_are_read_whole_and_together(database: str) -> None:
    texts = [f"{n}" * 30_000 for n in range(100, 150)]
    async with run_of(database, *map(token_frame, texts)) as (hub, started):
        for subprotocol in ("ideo.v1", "ideo.v1.proto"):
            events = await socket_events(hub, started["thread_id"], subprotocol)
            assert [event.token.text for event in events if event.HasField("token")] == texts


@pytest.mark.parametrize("limit", ["1", "1048575", "-1", "x", "4294967296"])
async def test_a_limit_that_is_too_small_or_no_number_is_refused(database: str, limit: str) -> None:
    async with run_of(database) as (hub, started), httpx.AsyncClient(base_url=hub.http, timeout=60) as http:
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        answer = await http.get(
            f"/api/ws/refinements/{started['thread_id']}?max_message_bytes={limit}",
            headers=bearer(hub.token()) | upgrade | {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="},
        )
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_argument")
        assert list(answer.json()["fields"]) == ["max_message_bytes"]


async def test_a_list_of_long_prompts_is_read_over_http(database: str) -> None:
    async with (
        serve_runtime(ScriptedRuntime(invokes=[422])) as url,
        running_hub(database, runtime_url=url) as hub,
        httpx.AsyncClient(base_url=hub.http, headers=bearer(hub.token()), timeout=60) as http,
    ):
        definition = {"a": "x" * 250_000}
        for _ in range(20):
            body = {"name": "w", "agent_definition": definition}
            workflow = (await http.post("/api/workflows", json=body)).json()["id"]
        listed = await http.get("/api/workflows")
        assert len(listed.json()["items"]) == 20
        assert len(listed.content) < 1 << 20
        for _ in range(25):
            prompt = {"user_prompt": "€" * 65_000}
            refused = await http.post(f"/api/workflows/{workflow}/refinements", json=prompt)
            assert refused.status_code == 502
        found: list[str] = []
        cursor = ""
        while True:
            page = await http.get("/api/proposals", params={"cursor": cursor} if cursor else {})
            assert len(page.content) < 4 << 20
            found += [proposal["id"] for proposal in page.json()["items"]]
            cursor = page.json()["next_cursor"]
            if cursor is None:
                break
        assert len(set(found)) == len(found) == 25


async def test_live_readers_get_the_same_as_late_ones(database: str) -> None:
    script = ScriptedRuntime(
        [[token_frame("a"), LARGE["a state of 6 MB"], token_frame("b"), END]], [COMPLETED]
    )
    async with serve_runtime(script) as url, running_hub(database, runtime_url=url) as hub:
        async with hub.client() as client:
            thread = (await start(client, "x"))["thread_id"]
            live = await asyncio.gather(
                *(socket_events(hub, thread, each) for each in ("ideo.v1", "ideo.v1.proto") * 2)
            )
        late = [await socket_events(hub, thread, each) for each in ("ideo.v1", "ideo.v1.proto")]
        assert live == late * 2
