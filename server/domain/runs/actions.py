"""What a run's driver does next, and what it reports to the rules in `server.domain.runs.verdict`."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import TypeAlias

from server.domain.journal.events import Outcome
from server.domain.proposals.files import File
from server.domain.runs.runtime import RuntimeState, UpstreamError


@dataclass(frozen=True, slots=True)
class Verdict:
    """The run is over. `delta` belongs to the frame that ended it.

    gap: frames may be missing before the end, so a discontinuity is journalled first.
    files: the file map of a state answer, to be journalled before the end; None for none.
    """

    outcome: Outcome
    reason: str = ""
    message: str = ""
    delta: bytes = b""
    gap: bool = False
    files: MutableMapping[str, File] | None = None


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a connection and read it, after a pause."""

    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class KeepListening:
    """Read the open connection until it ends or `idle` is due."""


@dataclass(frozen=True, slots=True)
class LeaveConnection:
    """The connection is of no more use: leave it, record why, and report `lost`."""

    why: str


@dataclass(frozen=True, slots=True)
class AwaitInput:
    """The agent waits for a person: nothing more comes, and the run lasts until its time is over or its state
    is failed.

    files: the file map of a state answer, to be journalled behind a discontinuity if it differs; or None.
    """

    files: MutableMapping[str, File] | None = None


@dataclass(frozen=True, slots=True)
class AskState:
    """Ask for the runtime's state after a pause, and report the answer with this question.

    undecided: the action when the answer decides nothing. grace_ends_at: the time until which
    `completed` without files is not believed. delta: of the `end` after a poll summary, or empty.
    """

    undecided: Connect | KeepListening | LeaveConnection
    grace_ends_at: float
    delta: bytes = b""
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class AskFiles:
    """As AskState, when the run has come to its end or its question, and only files may be missing.

    then: the action that follows, with the files of the answer. grace_ends_at: the time until which another
    answer than `completed` or `failed` is not taken. delta: of the `end` that came, or empty.
    """

    then: Verdict | AwaitInput
    grace_ends_at: float
    delta: bytes = b""
    after_s: float = 0.0


Action: TypeAlias = Verdict | Connect | KeepListening | LeaveConnection | AwaitInput | AskState | AskFiles

# --- What the driver reports -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JournalFacts:
    """What the journal of a run holds.

    has_files: the last file map is not empty. files_seen: there was a file map. files_unread: the last one
    could not be read, or not wholly. awaiting_input: a frame asks a person. error: from the last `error`
    frame that speaks of the run.
    state_shown, files_shown: a state frame, and one with a file map, came in this epoch, under this lease.
    """

    epoch: int = 1
    has_files: bool = False
    files_seen: bool = False
    files_unread: bool = False
    awaiting_input: bool = False
    error: UpstreamError | None = None
    state_shown: bool = False
    files_shown: bool = False

    @property
    def files_known(self) -> bool:
        """Whether no gap came after a file map: if it was read, the frames have shown the last files."""
        return self.files_shown or (self.files_seen and self.epoch == 1)


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The runtime did not answer a question, or refused it."""


#: The runtime's answer about a run; None when it does not know the run.
StateAnswer: TypeAlias = RuntimeState | NoAnswer | None
