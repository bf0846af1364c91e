"""What is made for clients that do not read it: how long it waits, and how much of it there is."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket as sockets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from server.domain.fair_budget import FairBudget
from server.domain.journal.events import Event, FileChange, StateUpdate
from server.domain.proposals.files import File
from server.encoding.event_batch import delimited_delta, delimited_event
from server.http.websocket_protocol import hub_config
from server.wire.codec import ProtobufCodec
from tests.support.hand_clock import PATIENCE_S, until
from tests.support.http_interface import HttpInterface, http_interface, small_socket, socket, upgrade_request
from tests.support.hub import RunningHub, finished, running_hub, start
from tests.support.tokens import bearer

#: Larger than what the kernel holds for a client, and than what one step may have without a reservation.
LARGE = "línea\n" * 300_000
BUDGET_BYTES = 32 << 20


@dataclasses.dataclass
class Large:
    """A finished run whose last event is large, and the interface that serves it."""

    hub: RunningHub
    interface: HttpInterface
    outgoing: FairBudget
    thread: str
    last_seq: int

    @property
    def page(self) -> str:
        """The address of an answer with the large event."""
        return f"/api/refinements/{self.thread}/events?after={self.last_seq - 1}"


@asynccontextmanager
async def large_run(database: str, *, deadline_s: float = 10 * PATIENCE_S) -> AsyncIterator[Large]:
    """A hub with a run that has a large event."""
    async with running_hub(database) as hub:
        outgoing = FairBudget(BUDGET_BYTES)
        core = dataclasses.replace(hub.core, outgoing=outgoing)
        async with http_interface(core, send_deadline_s=deadline_s) as interface, hub.client() as client:
            started = await start(client, "[[replay:short_run]]")
            await finished(client, started)
            last = await _add_event(hub.core.pool, UUID(started["thread_id"]))
            yield Large(hub, interface, outgoing, started["thread_id"], last)


async def _add_event(pool: Any, thread: UUID, path: str = "/large.md") -> int:
    """Put a large event behind the others. Returns its seq."""
    seq = int(
        await pool.fetchval(
            "UPDATE runs SET last_seq = last_seq + 1 WHERE thread_id = $1 RETURNING last_seq", thread
        )
    )
    kind = StateUpdate(files=(FileChange(path, File(LARGE.encode())),))
    event = ProtobufCodec().encode(Event(seq, 1, datetime.now(UTC), kind))
    await pool.execute(
        "INSERT INTO events (thread_id, first_seq, last_seq, batch, residues) VALUES ($1, $2, $2, $3, $4)",
        *(thread, seq, delimited_event(event), delimited_delta(b"")),
    )
    return seq


async def stuck(interface: HttpInterface, request: bytes) -> sockets.socket:
    """A client that sends a request and reads nothing."""
    raw = small_socket(interface)
    await asyncio.get_running_loop().sock_sendall(raw, request)
    return raw


def get(path: str, token: str, accept: str = "application/json") -> bytes:
    """The bytes of a request."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: h\r\nAccept: {accept}\r\nAuthorization: Bearer {token}\r\n\r\n"
    ).encode()


async def test_an_answer_that_its_client_does_not_read_is_cut_off_and_gives_its_room_back(
    database: str,
) -> None:
    async with large_run(database, deadline_s=0.3) as large:
        raw = await stuck(large.interface, get(large.page, large.hub.token()))
        try:
            await until(lambda: large.outgoing.used_bytes > 0)
            await large.interface.until_connections(0)
        finally:
            raw.close()
        assert large.outgoing.used_bytes == 0


async def test_readers_that_do_not_read_share_what_their_caller_may_have_and_others_are_answered(
    database: str,
) -> None:
    async with large_run(database) as large, AsyncExitStack() as stack:
        after = large.last_seq - 1
        requests = [get(large.page, large.hub.token()) for _ in range(4)]
        requests += [get(large.page, large.hub.token(), "text/event-stream") for _ in range(4)]
        requests += [
            upgrade_request(large.hub.token(), f"{large.thread}?after={after}", protocol)
            for protocol in ("ideo.v1", "ideo.v1.proto")
            for _ in range(4)
        ]
        for request in requests:
            stack.callback((await stuck(large.interface, request)).close)
        await until(lambda: large.outgoing.contended)
        assert large.outgoing.used_bytes <= BUDGET_BYTES // 4
        async with httpx.AsyncClient(base_url=large.interface.http, timeout=60) as other:
            for path in ("/api/proposals", "/api/workflows"):
                answer = await other.get(path, headers=bearer(large.hub.token("bob@example.com")))
                assert answer.status_code == 200
    # All of it is given back.
    assert large.outgoing.used_bytes == 0


async def _stop_reading(slow: ClientConnection, large: Large) -> None:
    """Read nothing until the hub has closed the stream, then what was sent before."""
    slow.transport.pause_reading()
    # What it has for the close and what is before it, once it is no longer followed.
    hub_config(large.interface.server.config).send_deadline_s = PATIENCE_S
    await until(lambda: not large.hub.core.broadcaster.readers)
    slow.transport.resume_reading()
    with suppress(ConnectionClosed):
        await slow.recv()


async def test_a_reader_that_stops_in_the_middle_of_a_message_is_closed_with_the_cursor_before_it(
    database: str,
) -> None:
    async with large_run(database, deadline_s=0.3) as large:
        after = large.last_seq - 1
        query = f"?after={after}&max_message_bytes=0"
        async with socket(
            large.interface.http, large.thread, large.hub.token(), "ideo.v1", query=query, max_queue=1
        ) as slow:
            assert "hello" in json.loads(await slow.recv())
            await _stop_reading(slow, large)
        assert (slow.close_code, slow.close_reason) == (4408, f"after={after}")
        async with socket(large.hub.http, large.thread, large.hub.token(), "ideo.v1", query=query) as again:
            await again.recv()
            batch = json.loads(await again.recv())["batch"]["events"]
        (change,) = batch[0]["state_update"]["files"]
        assert (batch[0]["seq"], change["text"]) == (large.last_seq, LARGE)


async def test_legacy_readers_that_do_not_read_share_what_their_caller_may_have(database: str) -> None:
    """Their frames are larger than all that callers may have together: they have every file of the run."""
    async with large_run(database) as large, AsyncExitStack() as stack:
        for number in range(10):
            last = await _add_event(large.hub.core.pool, UUID(large.thread), f"/{number}.md")
        assert (last - large.last_seq + 1) * len(LARGE.encode()) > BUDGET_BYTES / 2
        for number in range(12):
            query = f"{large.thread}?after={large.last_seq + number % 10}"
            request = upgrade_request(large.hub.token(), query, "ideo.legacy")
            stack.callback((await stuck(large.interface, request)).close)
        await until(lambda: large.outgoing.contended)
        assert large.outgoing.used_bytes <= BUDGET_BYTES // 4
    assert large.outgoing.used_bytes == 0


async def test_a_legacy_reader_gets_frames_of_any_size_whole(database: str) -> None:
    async with large_run(database) as large:
        for number in range(4):
            last = await _add_event(large.hub.core.pool, UUID(large.thread), f"/{number}.md")
        query = f"?after={large.last_seq - 1}"
        told = []
        async with socket(large.interface.http, large.thread, large.hub.token(), query=query) as reader:
            while not told or told[-1]["seq"] < last:
                told.append(json.loads(await reader.recv()))
    assert [frame["seq"] for frame in told] == list(range(large.last_seq, last + 1))
    names = ["/large.md", "/0.md", "/1.md", "/2.md", "/3.md"]
    for count, frame in enumerate(told, start=1):
        files = {path: file for path, file in frame["data"]["files"].items() if path in names}
        assert list(files) == names[:count]
        assert all("\n".join(file["content"]) == LARGE for file in files.values())


async def test_a_legacy_reader_that_stops_in_the_middle_of_a_frame_is_closed_with_the_cursor_before_it(
    database: str,
) -> None:
    async with large_run(database, deadline_s=0.3) as large:
        query = f"?after={large.last_seq - 1}"
        async with socket(
            large.interface.http, large.thread, large.hub.token(), query=query, max_queue=1
        ) as slow:
            await _stop_reading(slow, large)
        assert (slow.close_code, slow.close_reason) == (4408, f"after={large.last_seq - 1}")


async def test_text_that_is_not_ascii_is_sent_as_it_is(database: str) -> None:
    async with (
        large_run(database) as large,
        httpx.AsyncClient(base_url=large.interface.http, timeout=60) as client,
    ):
        answer = await client.get(large.page, headers=bearer(large.hub.token()))
        assert len(answer.content) < len(LARGE.encode()) * 1.5
        assert answer.json()["items"][0]["state_update"]["files"][0]["text"] == LARGE
