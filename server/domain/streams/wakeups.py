"""The port for wake-ups between replicas (ADR 0011)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol
from uuid import UUID

from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment


class WakeupListener(Protocol):
    """The followed threads of this replica. Every method is cheap and never waits."""

    def remote_threads(self) -> Mapping[UUID, int]:
        """Threads followed here, driven elsewhere and not over, each with the last seq known here."""
        ...

    def on_hint(self, thread_id: UUID, last_seq: int) -> None:
        """The thread's journal has reached `last_seq`: read it if that is new and anyone follows."""
        ...

    def on_segment(self, thread_id: UUID, segment: Segment, head: JournalHead) -> None:
        """A committed segment came along with the hint: deliver it if it joins up, else read."""
        ...


class Wakeups(Protocol):
    """Announces to other replicas what was committed here, and receives what was committed there.

    A hint may come late, twice, out of order or never: the journal has the truth, and a poll finds what no
    hint announced.
    """

    @property
    def healthy(self) -> bool:
        """Whether the last self-test passed: what others announce arrives here."""
        ...

    def on_commit(self, thread_id: UUID, segment: Segment, head: JournalHead) -> None:
        """Announce a committed segment of a local run. O(1); never waits or fails."""
        ...

    def on_remote_thread(self) -> None:
        """`WakeupListener.remote_threads` has a new thread. O(1); never waits or fails."""
        ...

    async def run_forever(self, listener: WakeupListener) -> None:
        """Announce and listen, also after every outage of the carrier."""
        ...
