"""A run of a rig with its clients."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from tests.faults.personas import Persona
from tests.faults.rig.history import Get, JournalEvent
from tests.faults.rig.recorder import Recorder


@dataclass
class Run:
    """One run with its clients."""

    persona: Persona
    thread_id: str
    proposal_id: str
    recorders: list[Recorder]
    tasks: list[asyncio.Task[Any]]
    gets: list[Get] = field(default_factory=list)
    #: The final journal's, once the run was checked.
    events: list[JournalEvent] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether a client has the last event."""
        return any(recorder.client.complete for recorder in self.recorders)

    def next_received(self, after: float) -> float | None:
        """Seconds from `after` until a client had an event that was made later; None when there was none
        before, or none later. For a run that was checked."""
        offset = time.time() - time.monotonic()
        later = [event.seq for event in self.events if event.made_at - offset > after]
        if not later or not self.events or self.events[0].made_at - offset > after:
            return None
        times = [
            at
            for recorder in self.recorders
            for connection in recorder.client.connections
            for seq, _, at in connection.received
            if seq >= later[0]
        ]
        return min(times) - after if times else None
