from __future__ import annotations

import asyncio
from typing import Any

import pytest

from server.domain.endings import ENDS_PER_TURN, Endings
from server.domain.errors import ShuttingDown
from server.http.admission import Admission
from server.http.connection import ClientGone, Connection, SlowReader, connection_of


class _Transport(asyncio.Transport):
    """A transport into nowhere, whose buffer the test sets."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0
        self.aborted = False

    def get_write_buffer_size(self) -> int:
        return self.size

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


def _connection(
    transport: _Transport,
    writable: asyncio.Event,
    deadline_s: float = 5,
    endings: Endings | None = None,
) -> Connection:
    return Connection(
        transport,
        writable=writable.is_set,
        wait=writable.wait,
        deadline_s=deadline_s,
        endings=endings or Endings(),
        admission=Admission(),
    )


async def _follow(connection: Connection, entered: asyncio.Event) -> str:
    try:
        with connection.streaming():
            entered.set()
            await asyncio.Event().wait()
    except ClientGone:
        pass
    # A task that was woken so is as free as before.
    await asyncio.sleep(0)
    return "ended by itself"


async def test_a_lost_client_ends_its_stream_and_leaves_the_task_uncancelled() -> None:
    connection, entered = _connection(_Transport(), asyncio.Event()), asyncio.Event()
    task = asyncio.create_task(_follow(connection, entered))
    await entered.wait()
    connection.lost()
    connection.lost()
    assert await task == "ended by itself"
    assert task.cancelling() == 0


async def test_the_streams_of_many_clients_that_leave_at_once_end_in_turns() -> None:
    endings, entered = Endings(), [asyncio.Event() for _ in range(2 * ENDS_PER_TURN + 1)]
    connections = [_connection(_Transport(), asyncio.Event(), endings=endings) for _ in entered]
    streams = [
        asyncio.create_task(_follow(connection, event))
        for connection, event in zip(connections, entered, strict=True)
    ]
    await asyncio.gather(*(event.wait() for event in entered))
    for connection in connections:
        connection.lost()
        with pytest.raises(ClientGone):
            connection.write(b"x")
    ended = 0
    while ended < len(streams):
        await asyncio.sleep(0)
        before, ended = ended, sum(stream.done() for stream in streams)
        assert ended - before <= ENDS_PER_TURN


async def test_a_cancelled_task_stays_cancelled_also_when_the_client_goes_too() -> None:
    connection, entered = _connection(_Transport(), asyncio.Event()), asyncio.Event()
    task = asyncio.create_task(_follow(connection, entered))
    await entered.wait()
    task.cancel()
    connection.lost()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_stream_of_a_client_that_is_gone_does_not_begin() -> None:
    connection = _connection(_Transport(), asyncio.Event())
    connection.lost()
    with pytest.raises(ClientGone), connection.streaming():
        pytest.fail("it began")


async def test_a_stopping_server_ends_the_stream_that_is_open_and_knows_when_none_is() -> None:
    connection, entered = _connection(_Transport(), asyncio.Event()), asyncio.Event()
    task = asyncio.create_task(_follow(connection, entered))
    await entered.wait()
    assert connection.stop()
    with pytest.raises(ShuttingDown):
        await task
    assert not connection.stop()


async def test_a_client_that_takes_nothing_is_stuck_and_one_that_takes_little_is_not() -> None:
    transport, writable = _Transport(), asyncio.Event()
    transport.size = 1_000_000
    waits = 0

    async def take_some() -> None:
        nonlocal waits
        waits += 1
        if waits < 4:
            transport.size -= 100_000
        await asyncio.Event().wait()

    slow: Any = Connection(
        transport,
        writable=writable.is_set,
        wait=take_some,
        deadline_s=0.05,
        endings=Endings(),
        admission=Admission(),
    )
    with pytest.raises(SlowReader):
        await slow.drain()
    assert waits == 4
    assert not transport.aborted


def test_nothing_is_written_on_a_connection_that_was_cut() -> None:
    transport = _Transport()
    connection = _connection(transport, asyncio.Event())
    connection.abort()
    assert transport.aborted
    with pytest.raises(ClientGone):
        connection.write(b"more")


def test_streams_refuse_a_server_that_is_not_ours() -> None:
    with pytest.raises(RuntimeError):
        connection_of({"type": "http"})
