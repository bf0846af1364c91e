"""What a run's driver does next, and what it reports to the rules in `server.domain.runs.verdict`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from server.domain.journal.events import Outcome
from server.domain.proposals.files import File
from server.domain.runs.runtime import RuntimeState


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
    files: Mapping[str, File] | None = None


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
    """The agent waits for a person: nothing more comes, and the run lasts until its time is over."""


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
    """As AskState, when the run is over and only its last files may be missing."""

    delta: bytes = b""
    after_s: float = 0.0


Action: TypeAlias = Verdict | Connect | KeepListening | LeaveConnection | AwaitInput | AskState | AskFiles

# --- What the driver reports -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JournalFacts:
    """What the journal of a run holds.

    has_files: the last file map is not empty. state_shown: a state frame came in this epoch.
    awaiting_input: the last state frame asks a person.
    """

    epoch: int = 1
    has_files: bool = False
    state_shown: bool = False
    awaiting_input: bool = False


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The runtime did not answer a question, or refused it."""


#: The runtime's answer about a run; None when it does not know the run.
StateAnswer: TypeAlias = RuntimeState | NoAnswer | None
