"""What a subscription hands out, one step at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from server.domain.journal.segments import Segment


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing new for a while: the journal's end, and the runtime's progress text."""

    last_seq: int
    progress: str


@dataclass(frozen=True, slots=True)
class ReconnectElsewhere:
    """This replica shuts down: subscribe on another one after a while, which differs by reader."""

    after_s: float


#: New events, or one of the above; None after the terminal event.
Step: TypeAlias = list[Segment] | Heartbeat | ReconnectElsewhere | None
