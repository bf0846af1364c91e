"""The port to a process that interprets large frames, so that the hub's own goes on (ADR 0056)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from server.domain.runs.journal_entries import JournalEntry
from server.domain.runs.runtime import Interpretation


class FrameNotRead(Exception):
    """The frame took too long, or the process ended while it interpreted it, again and again."""


@dataclass(frozen=True, slots=True)
class FramePlace:
    """Where a frame's events go in the journal.

    seq, epoch, time: of the first event. expires_at: when a question in it expires. room_bytes: bytes of the
    frame that may be kept for the next one.
    """

    seq: int
    epoch: int
    time: datetime
    expires_at: datetime
    room_bytes: int


@dataclass(frozen=True, slots=True)
class FrameReading:
    """What a frame means. meaning: its kinds have no content, except for a frame that was not interpreted.
    entries: those of its kinds, with all content. change: for `FrameInterpreter.advance`."""

    meaning: Interpretation
    entries: tuple[JournalEntry, ...]
    change: bytes


class FrameWorker(Protocol):
    """Interprets one frame at a time."""

    async def interpret(self, state: bytes, calls: bytes, frame: bytes, place: FramePlace) -> FrameReading:
        """The next frame of a run whose interpreter gave `state` and `calls` (`FrameInterpreter.dump`).

        Raises `server.domain.worker.WorkerMissing`, FrameNotRead.
        """
        ...
