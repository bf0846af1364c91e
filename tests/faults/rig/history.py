"""What was observed of one run, from every side. Plain data, for the checker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.faults.scripts import FileDigests

#: A unit that a client got, by its seq and the SHA-256 of its canonical form.
Unit = tuple[int, str]
#: What a check finds: rules that are broken (`checker.Violation`), with details.
Found = Iterator[tuple[str, str]]

TERMINAL = frozenset({"completed", "failed", "cancelled"})


@dataclass(slots=True)
class JournalEvent:
    """An event of the final journal. digest: of the runtime's frame it came from, None if of none.
    made_at: by the clock on the wall."""

    seq: int
    sha256: str
    epoch: int
    kind: str
    digest: str | None = None
    made_at: float = 0.0


@dataclass(slots=True)
class Journal:
    """How a run stands in the database when all is over.

    frames: the same journal as legacy frames, which has no unit for some events and two for one.
    outcome, reason: of the terminal event; empty when there is none.
    """

    events: list[JournalEvent]
    frames: list[Unit]
    run_status: str
    proposal_status: str
    outcome: str
    reason: str
    attempt: int
    last_seq: int
    files: FileDigests

    @property
    def units(self) -> list[Unit]:
        """The events as clients get them."""
        return [(event.seq, event.sha256) for event in self.events]


def reportable(journal: Journal) -> set[tuple[str, int]]:
    """What a webhook is to report of a journal: the type of each event with its seq."""
    types = {"terminal": "run.finished", "input_requested": "input.requested"}
    return {(types[event.kind], event.seq) for event in journal.events if event.kind in types}


@dataclass(slots=True)
class Write:
    """One change of a run's row: who wrote (a process), and what stood there before and after."""

    writer: str
    owner: tuple[str, str]
    fence: tuple[int, int]
    last_seq: tuple[int, int]
    status: tuple[str, str]


@dataclass(slots=True)
class Connection:
    """One connection of a client: from its opening to its end, whatever ended it.

    after: the cursor it asked for. hello: the `last_seq` it was greeted with. legacy: its units are
    legacy frames. received: what came, with the time. refused: the hub said not to come back.
    """

    after: int
    opened_at: float
    legacy: bool = False
    hello: int | None = None
    received: list[tuple[int, str, float]] = field(default_factory=list)
    ended: str = ""
    refused: bool = False


@dataclass(slots=True)
class Client:
    """One client with all its connections, in order. complete: it got the terminal event."""

    way: str
    connections: list[Connection] = field(default_factory=list)
    complete: bool = False


@dataclass(slots=True)
class Get:
    """A read of the proposal over HTTP. began_at: when it was sent."""

    began_at: float
    replica: str
    status: str
    files: FileDigests


@dataclass(frozen=True, slots=True)
class Report:
    """A call of the webhook: the event's id and type, and the seq of the journal that it names."""

    id: str
    type: str
    seq: int


@dataclass(slots=True)
class Truth:
    """What the runtime really did: invokes, the frames of the newest execution, what it sent on each
    connection, and the files that the agent left. ends: the run publishes an `end`; without one, nobody can
    know which frame was the last."""

    invokes: int
    frames: list[str]
    connections: list[list[str]]
    files: FileDigests
    ends: bool = True


@dataclass(slots=True)
class History:
    """One run. exact: the journal must be the runtime's frames, all of them; otherwise discontinuities
    are allowed. verdicts: the (outcome, reason) pairs that are right."""

    name: str
    exact: bool
    verdicts: set[tuple[str, str]]
    journal: Journal
    truth: Truth
    clients: list[Client] = field(default_factory=list)
    gets: list[Get] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
