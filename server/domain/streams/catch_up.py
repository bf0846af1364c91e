"""Reading what other replicas commit to the threads that are followed here (ADR 0011).

One loop per replica reads the journals that a wake-up, or a poll, says may have grown.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from uuid import UUID

from server.domain.clock import Clock
from server.domain.errors import DatabaseUnavailable
from server.domain.journal.journal import JournalHead, JournalReader
from server.domain.streams.topic import STEP_BYTES, Topic

#: Threads that are read from the journal at the same time, when wake-ups or a poll announce several.
_CONCURRENT_READS = 4
#: Seconds for which a journal may end before what readers have: a database lost its newest commits.
REWIND_S = 8.0
#: The head of a journal that the database has lost as a whole.
_LOST = JournalHead(0, 1, 1, False)


class CatchUp:
    """The threads of a replica that may have new events in the journal. topics: those that are
    followed, by the numbers of their ids."""

    def __init__(self, topics: Mapping[int, Topic], journal: JournalReader, clock: Clock) -> None:
        self._topics, self._journal, self._clock = topics, journal, clock
        self._due: set[UUID] = set()
        self._work = asyncio.Event()
        #: Since when the journal of a thread ends before what readers have.
        self._behind_since: dict[UUID, float] = {}

    def request(self, thread_ids: Iterable[UUID]) -> None:
        """Have the journals of these threads read again."""
        self._due.update(thread_ids)
        self._work.set()

    def forget(self, thread_id: UUID) -> None:
        """A thread is no longer followed."""
        self._behind_since.pop(thread_id, None)

    async def read_forever(self) -> None:
        """Read the threads that may have new events, as soon as there are some."""
        while True:
            await self._work.wait()
            # After DatabaseUnavailable the next poll marks all of them again.
            with contextlib.suppress(DatabaseUnavailable):
                await self.read_due()

    async def read_due(self) -> None:
        """Read the threads that may have new events now. Raises DatabaseUnavailable."""
        self._work.clear()
        due, self._due = self._due, set()
        known = {id_: topic.head.last_seq for id_ in due if (topic := self._topics.get(id_.int)) is not None}
        if not known:
            return
        heads = await self._journal.heads(list(known))
        self._find_rewound(known, heads)
        # One iterator for all workers: each takes the next remaining thread.
        left = iter(heads.items())

        async def work() -> None:
            for thread_id, head in left:
                await self._read_up_to(thread_id, head)

        if len(heads) == 1:
            await work()
            return
        workers = [work() for _ in range(min(_CONCURRENT_READS, len(heads)))]
        for result in await asyncio.gather(*workers, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    def _find_rewound(self, known: Mapping[UUID, int], heads: Mapping[UUID, JournalHead]) -> None:
        """Rewind the topics of journals that end before what was committed before this look at them, and did
        so for a while: the process that committed it may write it again."""
        now = self._clock.monotonic()
        for thread_id, last_seq in known.items():
            topic, head = self._topics.get(thread_id.int), heads.get(thread_id, _LOST)
            if topic is None or head.last_seq >= last_seq:
                self._behind_since.pop(thread_id, None)
            elif now - self._behind_since.setdefault(thread_id, now) >= REWIND_S:
                del self._behind_since[thread_id]
                topic.rewind(head)

    async def _read_up_to(self, thread_id: UUID, head: JournalHead) -> None:
        """Read the segments between the topic's head and this one."""
        while (topic := self._topics.get(thread_id.int)) is not None and topic.head.last_seq < head.last_seq:
            segments = await self._journal.read_after(thread_id, topic.head.last_seq, max_bytes=STEP_BYTES)
            if not segments:
                return
            for segment in segments:
                # The journal may have grown since the head was read, so the segment says where it ends.
                topic.extend(segment, JournalHead(segment.last_seq, head.epoch, head.floor, segment.terminal))
        if topic is not None:
            topic.advance(head)
