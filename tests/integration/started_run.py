"""A run on a real journal that a test writes event by event, and what its readers get."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from server.clock import SystemClock
from server.compiled.choice import legacy_tokens, why_not_compiled
from server.db.journal import PostgresJournal
from server.domain.clock import Clock
from server.domain.journal.events import Event, EventKind, Outcome, RunStarted, Terminal
from server.domain.journal.file_index import index_entries
from server.domain.journal.log import JournalLog
from server.domain.proposals.partition import ProposalFiles
from server.domain.runs.lease import Lease
from server.domain.streams.broadcaster import Broadcaster
from server.domain.streams.legacy_tokens import Framing
from server.domain.streams.subscription import Subscription
from server.encoding.event_batch import delimited_event
from server.wire.codec import ProtobufCodec
from tests.support.stored import NOON, a_run, a_user, a_workflow

CODEC = ProtobufCodec()


@dataclass
class StartedRun:
    """A journal with its writer, broadcaster on it, and a started run."""

    journal: PostgresJournal
    broadcaster: Broadcaster
    lease: Lease
    log: JournalLog

    @property
    def thread_id(self) -> UUID:
        return self.lease.thread_id

    def put(self, kind: EventKind, delta: bytes = b"") -> None:
        event = Event(self.log.last_seq + 1, 1, NOON, kind)
        self.log.put(delimited_event(CODEC.encode(event)), delta, epoch=1, file_changes=index_entries(event))

    async def poll(self) -> None:
        """Read what is new."""
        await self.broadcaster.poll()
        await self.broadcaster.catch_up.read_due()

    async def finish(self, delta: bytes = b"", *, outcome: Outcome = Outcome.COMPLETED) -> None:
        terminal = Terminal(outcome, "" if outcome is Outcome.COMPLETED else "deadline_exceeded", "too long")
        event = Event(self.log.last_seq + 1, 1, NOON, terminal)
        await self.journal.finish(
            self.log, CODEC.encode(event), delta, outcome=outcome, files=ProposalFiles(), failure=None
        )


@asynccontextmanager
async def started_run(
    pool: Any, *, window_bytes: int = 4 << 20, local: bool = True, clock: Clock | None = None
) -> AsyncIterator[StartedRun]:
    clock = clock or SystemClock()
    journal = PostgresJournal(pool, clock, lease_ttl_s=15)
    broadcaster = Broadcaster(
        journal,
        clock,
        is_local=lambda thread_id: local,
        max_window_bytes=window_bytes,
        legacy_tokens=legacy_tokens(compiled=not why_not_compiled()),
    )
    if local:
        journal.subscribe(broadcaster.on_commit)
    user = await a_user(pool)
    first = CODEC.encode(Event(1, 1, NOON, RunStarted(uuid4(), uuid4(), uuid4())))
    lease = await a_run(pool, user, await a_workflow(pool, user), first_event=first)
    async with journal.writing():
        yield StartedRun(journal, broadcaster, lease, journal.open(lease))


async def read_all(subscription: Subscription) -> list[Event]:
    found: list[Event] = []
    try:
        while (step := await subscription.step()) is not None:
            if isinstance(step, list):
                found.extend(CODEC.decode(event) for segment in step for event in segment.events())
    finally:
        subscription.close()
    return found


#: Each frame on a line of its own, after the end of the line before.
LINES = Framing(lambda part, first, last: b"\n" + part if first else part, lambda size: b"\n")


async def read_pieces(subscription: Subscription) -> list[bytes]:
    found: list[bytes] = []
    try:
        while (step := await subscription.step()) is not None:
            if isinstance(step, list):
                for segment in step:
                    found += [piece async for piece, _ in subscription.legacy_pieces(segment, CODEC, LINES)]
    finally:
        subscription.close()
    return found
