"""The steps that a subscription returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from server.domain.journal.segments import Segment


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The journal's last seq and the runtime's progress text, for a quiet stream."""

    last_seq: int
    progress: str


@dataclass(frozen=True, slots=True)
class ReconnectElsewhere:
    """This replica shuts down: subscribe on another one after a delay, which differs for each reader."""

    after_s: float


#: New events, a heartbeat, or the request to reconnect; None after the terminal event.
Step: TypeAlias = list[Segment] | Heartbeat | ReconnectElsewhere | None
