"""The threads that this replica drives: written by the runner, read by the fan-out of events."""

from __future__ import annotations

from uuid import UUID


class RunRegistry:
    """Which threads have their run on this replica."""

    def __init__(self) -> None:
        self._thread_ids: set[UUID] = set()

    def add(self, thread_id: UUID) -> None:
        """The run of the thread is driven here from now on."""
        self._thread_ids.add(thread_id)

    def discard(self, thread_id: UUID) -> None:
        """The run of the thread is no longer driven here."""
        self._thread_ids.discard(thread_id)

    def owns(self, thread_id: UUID) -> bool:
        """Whether the run of the thread is driven here."""
        return thread_id in self._thread_ids
