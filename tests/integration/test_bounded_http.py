"""Connections to servers that may send anything: what waits of an answer, and how many are read at a time."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter

import httpcore
from typing_extensions import override

from server.bounded_http import TURN_READS, BoundedNetwork, BoundedStream, LoopShare
from server.cli.event_loop import CommandLoop

#: Bytes that a client takes before it stops, until which the kernel lets the buffers of a connection grow.
TAKEN_BYTES = 16 << 20
#: Bytes that may wait then, in the kernel, in the process, and at the server.
MOST_WAITING_BYTES = 1 << 20
STREAMS, READS = 50, 5


def _send_all_that_is_taken(listener: socket.socket) -> int:
    """Send an answer without an end to the first client. Returns how many bytes were taken, by it or by
    buffers, once nothing more is."""
    made, _ = listener.accept()
    with made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 << 10)
        made.settimeout(1)
        sent = made.send(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                sent += made.send(bytes(1 << 20))
        except TimeoutError:
            return sent


def test_little_waits_of_an_answer_that_is_not_read() -> None:
    # The hub's event loop reads on until nothing waits in the kernel.
    with asyncio.Runner(loop_factory=CommandLoop) as runner:
        assert runner.run(_waiting_bytes()) < MOST_WAITING_BYTES


async def _waiting_bytes() -> int:
    """What waits of an answer after its reader has stopped."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sending = asyncio.create_task(asyncio.to_thread(_send_all_that_is_taken, listener))
        stream = await BoundedNetwork().connect_tcp("127.0.0.1", listener.getsockname()[1])
        try:
            stream.head_ended()
            taken = 0
            while taken < TAKEN_BYTES:
                taken += len(await stream.read(1 << 20))
            return await sending - taken
        finally:
            await stream.aclose()


class _Events(httpcore.AsyncNetworkStream):
    """A stream of which more has come whenever it is read."""

    @override
    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return b"data: an event of a stream\n\n" * 20


async def test_few_of_many_connections_are_read_in_one_turn_of_the_event_loop() -> None:
    loop, share, turn = asyncio.get_running_loop(), LoopShare(), 0
    reads: Counter[int] = Counter()

    def next_turn() -> None:
        nonlocal turn
        turn += 1
        timer[0] = loop.call_soon(next_turn)

    timer = [loop.call_soon(next_turn)]

    async def read() -> None:
        stream = BoundedStream(_Events(), share)
        stream.head_ended()
        for _ in range(READS):
            await stream.read(1 << 16)
            reads[turn] += 1

    await asyncio.gather(*(read() for _ in range(STREAMS)))
    timer[0].cancel()
    assert reads.total() == STREAMS * READS
    assert max(reads.values()) <= 2 * TURN_READS
