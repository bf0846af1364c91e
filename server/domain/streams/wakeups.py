"""Wake-ups between replicas (ADR 0011)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol
from uuid import UUID

from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment


class WakeupListener(Protocol):
    """Who is woken: the followed threads of this replica. Every method is cheap and never waits."""

    def awaited(self) -> Mapping[UUID, int]:
        """Threads followed here, driven elsewhere and not over, each with the last seq known here."""
        ...

    def hinted(self, thread_id: UUID, last_seq: int) -> None:
        """The thread's journal has come to `last_seq`: read it if that is news and anyone follows."""
        ...

    def received(self, thread_id: UUID, segment: Segment, head: JournalHead) -> None:
        """A committed segment came along with the hint: take it if it joins up, else read."""
        ...


class Wakeups(Protocol):
    """Tells other replicas what was committed here, and hears what was committed there.

    A hint may come late, twice, out of order or never: the journal is the truth, and a poll beneath
    finds what no hint told.
    """

    @property
    def healthy(self) -> bool:
        """Whether the last self-test passed: what others tell arrives here."""
        ...

    def committed(self, thread_id: UUID, segment: Segment, head: JournalHead) -> None:
        """Tell the others about a committed segment of a local run. O(1); never waits or fails."""
        ...

    def awaiting(self) -> None:
        """`WakeupListener.awaited` has a new thread. O(1); never waits or fails."""
        ...

    async def run_forever(self, woken: WakeupListener) -> None:
        """Tell and listen, through every absence of whatever carries the hints."""
        ...
