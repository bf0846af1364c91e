"""Replicas without interfaces: journal, broadcaster and wake-ups of several processes, all in one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from server.clock import SystemClock
from server.db.journal import PostgresJournal
from server.db.pool import open_pool
from server.domain.journal.events import Event, EventKind, Outcome, RunStarted, Terminal, Token
from server.domain.journal.journal import JournalHead, JournalReader
from server.domain.journal.log import JournalLog
from server.domain.journal.segments import Segment
from server.domain.proposals.partition import ProposalFiles
from server.domain.retry import every
from server.domain.runs.registry import RunRegistry
from server.domain.streams.broadcaster import Broadcaster
from server.domain.streams.steps import Heartbeat
from server.domain.streams.subscription import Subscription
from server.domain.streams.wakeups import Wakeups
from server.encoding.event_batch import delimited_event
from server.wire.codec import ProtobufCodec
from tests.support.hand_clock import until
from tests.support.stored import NOON, a_run, a_user, a_workflow

CODEC = ProtobufCodec()
#: A poll that never comes within a test.
NEVER_S = 3600.0


class RecordingReader:
    """Reads a journal, and remembers the cursors behind which it was read."""

    def __init__(self, journal: JournalReader) -> None:
        self._journal = journal
        self.reads: list[int] = []

    @property
    def seconds_since_reconnect(self) -> float:
        return self._journal.seconds_since_reconnect

    async def heads(self, thread_ids: Sequence[UUID]) -> Mapping[UUID, JournalHead]:
        return await self._journal.heads(thread_ids)

    async def read_after(
        self, thread_id: UUID, after: int, *, max_bytes: int, max_segment_bytes: int | None = None
    ) -> Sequence[Segment]:
        self.reads.append(after)
        return await self._journal.read_after(
            thread_id, after, max_bytes=max_bytes, max_segment_bytes=max_segment_bytes
        )


@dataclass
class Replica:
    """What one process has."""

    pool: Any
    journal: PostgresJournal
    broadcaster: Broadcaster
    wakeups: Wakeups
    registry: RunRegistry
    reads: list[int]
    #: Set when this or another replica has released runs.
    released: asyncio.Event

    async def run(self) -> LocalRun:
        """A started run that this replica drives."""
        user = await a_user(self.pool)
        first = CODEC.encode(Event(1, 1, NOON, RunStarted(uuid4(), uuid4(), uuid4())))
        lease = await a_run(self.pool, user, await a_workflow(self.pool, user), first_event=first)
        self.registry.add(lease.thread_id)
        return LocalRun(lease.thread_id, self.journal, self.journal.open(lease))

    async def told(self, *, healthy: bool = True) -> None:
        """Wait until the wake-ups' self-test passes, or fails."""
        await until(lambda: self.wakeups.healthy == healthy)


@dataclass
class LocalRun:
    """A run, driven by the test."""

    thread_id: UUID
    journal: PostgresJournal
    log: JournalLog

    def put(self, kind: EventKind) -> None:
        """Queue an event."""
        event = CODEC.encode(Event(self.log.last_seq + 1, 1, NOON, kind))
        self.log.put(delimited_event(event), b"delta", epoch=1)

    async def say(self, text: str) -> None:
        """Commit a token."""
        self.put(Token(text=text))
        await self.log.flush()

    async def finish(self) -> None:
        """Commit the terminal event."""
        event = Event(self.log.last_seq + 1, 1, NOON, Terminal(Outcome.COMPLETED, "", ""))
        await self.journal.finish(
            self.log, CODEC.encode(event), b"", outcome=Outcome.COMPLETED, files=ProposalFiles(), failure=None
        )


@asynccontextmanager
async def replica(
    dsn: str,
    make: Callable[[Any], Wakeups],
    *,
    poll_s: float = NEVER_S,
    woken_poll_s: float = NEVER_S,
    statement_cache_size: int = 100,
    muted: Callable[[], bool] = lambda: False,
) -> AsyncIterator[Replica]:
    """A replica with the wake-ups that `make` makes of its pool, and by default without a poll.

    While it is `muted`, it tells nobody of its commits.
    """
    async with open_pool(dsn, statement_cache_size=statement_cache_size) as pool:
        wakeups = make(pool)
        clock, registry, released = SystemClock(), RunRegistry(), asyncio.Event()
        journal = PostgresJournal(pool, clock, lease_ttl_s=60)
        reader = RecordingReader(journal)
        broadcaster = Broadcaster(
            reader,
            clock,
            is_local=registry.owns,
            wakeups=wakeups,
            poll_s=poll_s,
            woken_poll_s=woken_poll_s,
        )

        def tell_all(thread_id: UUID, segment: Segment, head: JournalHead) -> None:
            if not muted():
                broadcaster.on_commit(thread_id, segment, head)
                wakeups.on_commit(thread_id, segment, head)

        journal.subscribe(tell_all)
        async with journal.writing():
            tasks = [
                asyncio.create_task(part)
                for part in (
                    every(broadcaster.poll_interval_s, broadcaster.poll, clock),
                    broadcaster.catch_up.read_forever(),
                    wakeups.run_forever(broadcaster, on_released=released.set),
                )
            ]
            try:
                yield Replica(pool, journal, broadcaster, wakeups, registry, reader.reads, released)
            finally:
                early = [task for task in tasks if task.done()]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                assert not early, early


async def read_events(subscription: Subscription, count: int | None = None) -> list[Event]:
    """The next `count` events, or all to the end."""
    found: list[Event] = []
    try:
        while (count is None or len(found) < count) and (step := await subscription.step()) is not None:
            if isinstance(step, list):
                found.extend(CODEC.decode(event) for segment in step for event in segment.events())
    finally:
        subscription.close()
    return found


async def progress_is_shown_elsewhere(here: Replica, there: Replica) -> None:
    """A reader on the other replica gets the newest progress text with a heartbeat; those here get it from
    the run alone."""
    await asyncio.gather(here.told(), there.told())
    run = await here.run()
    follower = await there.broadcaster.subscribe(run.thread_id, 1)
    own = await here.broadcaster.subscribe(run.thread_id, 1)
    try:
        here.wakeups.on_progress(run.thread_id, "a third")
        here.wakeups.on_progress(run.thread_id, "half, way: done")
        async with asyncio.timeout(60):
            assert await follower.step() == Heartbeat(1, "half, way: done")
        assert (own.topic.heartbeats, own.topic.progress) == (0, "")
    finally:
        follower.close()
        own.close()


async def a_release_is_announced(here: Replica, there: Replica) -> None:
    """Other replicas hear at once that runs can be taken over."""
    await asyncio.gather(here.told(), there.told())
    there.released.clear()
    here.wakeups.on_released()
    async with asyncio.timeout(60):
        await there.released.wait()
