"""The port for wake-ups between replicas (ADR 0011)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol
from uuid import UUID

from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment

#: Maximum characters of a progress text: however they are escaped, they fit in a notification.
PROGRESS_CHARS = 500


class WakeupListener(Protocol):
    """The followed threads of this replica. Every method is cheap and never waits."""

    def remote_threads(self) -> Mapping[UUID, int]:
        """The active threads that are followed here and driven elsewhere, with the last seq known here."""
        ...

    def on_wakeup(self, thread_id: UUID, last_seq: int) -> None:
        """Read the thread's journal if it is followed here and `last_seq`, its end, is new."""
        ...

    def on_segment(self, thread_id: UUID, segment: Segment, head: JournalHead) -> None:
        """Deliver a segment that came with its hint if it continues the topic, else read the journal."""
        ...

    def on_progress(self, thread_id: UUID, text: str) -> None:
        """Show the runtime's progress on a thread that is driven elsewhere."""
        ...


class Wakeups(Protocol):
    """Announces to other replicas what was committed here, and receives what was committed there; also the
    runtime's progress, and that runs were released.

    A hint may arrive late, twice, out of order or never: the journal is authoritative, and a poll finds what
    no hint announced.
    """

    @property
    def healthy(self) -> bool:
        """Whether the last self-test passed: what others announce arrives here."""
        ...

    def on_commit(self, thread_id: UUID, segment: Segment, head: JournalHead) -> None:
        """Announce a committed segment of a local run. O(1); never waits or fails."""
        ...

    def on_progress(self, thread_id: UUID, text: str) -> None:
        """Announce the runtime's progress on a local run. O(1); never waits or fails."""
        ...

    def on_released(self) -> None:
        """Announce that runs of this replica can be taken over. O(1); never waits or fails."""
        ...

    def on_remote_thread(self) -> None:
        """`WakeupListener.remote_threads` has a new thread. O(1); never waits or fails."""
        ...

    async def run_forever(
        self, listener: WakeupListener, *, on_released: Callable[[], None] = lambda: None
    ) -> None:
        """Announce and listen, and recover from every outage of the carrier.

        on_released: called when another replica, or this one, has released runs.
        """
        ...
