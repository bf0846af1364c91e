"""Reading the journal of a run that is taken over: what one turn of the event loop has of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from server.domain.journal.events import Event, RunStarted, Token
from server.domain.runs.lease import Lease
from server.domain.runs.restore import TURN_EVENTS
from server.domain.runs.run_recorder import RunRecorder
from server.encoding.event_batch import delimited_event
from server.wire.codec import ProtobufCodec
from tests.support.driven import Driven, driven
from tests.support.stored import NOON, a_run, a_workflow

_CODEC = ProtobufCodec()


class Counting:
    """A codec. most: events that were decoded in one turn of the event loop."""

    def __init__(self) -> None:
        self.most = self._count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(_CODEC, name)

    def decode(self, event: bytes) -> Event:
        if not self._count:
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._count += 1
        self.most = max(self.most, self._count)
        return _CODEC.decode(event)

    def _next_turn(self) -> None:
        self._count = 0


async def a_journal(on: Driven, pool: Any, count: int, together: int) -> Lease:
    """The lease of a run that has journalled so many tokens, in commits of so many."""
    first = _CODEC.encode(Event(1, 1, NOON, RunStarted(uuid4(), uuid4(), uuid4())))
    lease = await a_run(pool, on.user, await a_workflow(pool, on.user), first_event=first)
    log = on.core.journal.open(lease)
    for number in range(count):
        token = Event(log.last_seq + 1, 1, NOON, Token(f"{number}"))
        log.put(delimited_event(_CODEC.encode(token)), b"", epoch=1)
        if not (number + 1) % together:
            await log.flush()
    await log.flush()
    return replace(lease, last_seq=log.last_seq)


@pytest.mark.parametrize("together", [1000, 1])
async def test_of_two_runs_that_are_restored_a_turn_of_the_loop_has_a_little_of_one(
    database: str, pool: Any, together: int
) -> None:
    async with driven("http://127.0.0.1:9", database, pool) as on:
        leases = [await a_journal(on, pool, 4 * TURN_EVENTS, together) for _ in range(2)]
        codec: Any = Counting()
        context = replace(on.core.runner.context, codec=codec)
        await asyncio.gather(*(RunRecorder(context, lease).restore() for lease in leases))
    # A turn may have the end of a segment and the beginning of the next one.
    assert 0 < codec.most < 2 * TURN_EVENTS
