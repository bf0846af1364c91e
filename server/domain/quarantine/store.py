"""The quarantine's ports: what is noted about kept frames. The frames themselves are events of their
journals.

All methods raise DatabaseUnavailable while the database cannot be reached.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from server.domain.model import Page
from server.domain.quarantine.entries import Kept, Release


@dataclass(frozen=True, slots=True)
class Group:
    """The frames of one shape. waiting: those that were not released, or whose release is not carried out
    yet. outcomes: how many of the others had which outcome. example: the first frame that waits, or else the
    first, as thread and seq."""

    shape_id: str
    reason: str
    event_type: str
    structure: str
    count: int
    waiting: int
    runs: int
    size_bytes: int
    first_at: datetime
    last_at: datetime
    example: tuple[UUID, int]
    outcomes: tuple[tuple[Release, int], ...] = ()


@dataclass(frozen=True, slots=True)
class KeptFrame:
    """A frame in quarantine. ended: whether its run has ended. requested: whether its release was asked for.
    outcome_seq: the event with its meaning, if it is journalled."""

    thread_id: UUID
    seq: int
    kept_at: datetime
    ended: bool
    requested: bool = False
    outcome: Release | None = None
    outcome_seq: int | None = None


@dataclass(frozen=True, slots=True)
class DueReleases:
    """What the owner of a run is to release: the seqs of kept frames, in order; and the seqs of the events
    with what earlier releases put back."""

    seqs: Sequence[int]
    put_back: Collection[int]


class RunQuarantine(Protocol):
    """What the owner of a run needs."""

    async def due(self, thread_id: UUID) -> DueReleases:
        """The frames of a run that an operator wants released."""
        ...

    async def note(self, thread_id: UUID, seq: int, outcome: Release | None) -> None:
        """Note what became of a frame of which nothing is journalled; None: it is still not understood, and
        waits for another release."""
        ...


class QuarantineStore(RunQuarantine, Protocol):
    """What operators need. Methods with a token raise InvalidArgument for one that their list never
    issued."""

    async def groups(self, *, handled: bool, limit: int, token: str | None = None) -> Page:
        """A page of the shapes (`Group`), with the most recent frames first; handled: also those of which no
        frame waits."""
        ...

    async def group(self, shape_id: str) -> Group | None:
        """One shape; None if there is no frame of it."""
        ...

    async def frames(
        self, shape_id: str, *, reportable: bool = False, limit: int, token: str | None = None
    ) -> Page:
        """A page of the frames of a shape (`KeptFrame`), by thread and seq. reportable: only those of ended
        runs that were not released."""
        ...

    def frame_token(self, frame: KeptFrame) -> str:
        """The token of the position after a frame, in the list of its shape's frames."""
        ...

    async def request_release(self, shape_id: str) -> int:
        """Ask the owners of runs that have not ended to release their frames of a shape. Returns how many
        frames these are."""
        ...

    async def thread_after(self, thread_id: UUID | None) -> UUID | None:
        """The thread with events that follows one in the order of their ids; None after the last."""
        ...

    def scan_token(self, thread_id: UUID, seq: int) -> str:
        """The token of the position after an event, for a scan."""
        ...

    def scan_place(self, token: str) -> tuple[UUID, int]:
        """The thread and the seq of a token."""
        ...

    async def add(self, thread_id: UUID, kept: Sequence[tuple[Kept, datetime]]) -> int:
        """Note kept frames with the times of their events, except those that are noted or no longer there.
        Returns how many were added."""
        ...

    async def count_waiting(self) -> tuple[int, int]:
        """How many frames wait, and how many shapes they have."""
        ...
