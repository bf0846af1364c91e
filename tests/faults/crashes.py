"""A replica dies at a named point; another takes its runs over."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from server.domain.crash_points import EXIT_CODE, POINTS
from tests.faults.personas import PERSONAS, Persona, Profile
from tests.faults.rig.environment import Environment, Rig, open_rig
from tests.faults.rig.report import Result
from tests.faults.rig.run import Run

#: The longest run of these cases, and of those that only this bound can end.
LONGEST_S = 90
LONGEST_SILENT_S = 12
#: The same where three replicas follow each other: the last one, which starts when its forerunner is dead,
#: needs 15 s on a busy machine, and must find the run's time not over.
LONGEST_TAKEN_OVER_S = 30
#: Frames of a run that is held until its owner is dead, or stops.
_HELD = 8
#: Points that are reached when a run is taken over, and when a replica is stopped.
_AT_TAKEOVER = frozenset({"taken_over", "restored"})
_AT_STOP = frozenset({"draining", "handing_over"})
#: Points that no run passes: somebody accepts its proposal there (`acceptances.py`).
AT_ACCEPT = ("before_accept", "in_accept", "end_of_accept", "accepted")
#: The same: these are reached by starts on a busy draft (`queued_starts.py`).
AT_BUSY = ("queued", "in_supersede", "dequeued")
#: The same: these are reached when a person replies to an agent (`replies.py`).
AT_REPLY = ("replied", "answered", "resumed")
_IN_RUNS = [point for point in POINTS if point not in AT_ACCEPT + AT_BUSY + AT_REPLY]
#: Points that are reached when a webhook is called, which any replica may do.
_AT_REPORT = frozenset({"webhook_claimed", "webhook_sent"})
#: Points that are passed with every frame or commit.
_OFTEN = frozenset({"frame_recorded", "before_append", "after_append"})
#: Points that are reached when the runtime's stream breaks.
_AT_BREAK = frozenset({"connection_lost", "discontinuity", "state_asked"})


@dataclass(frozen=True, slots=True)
class Crash:
    """One case: the nth pass through a point, while a persona's run goes on."""

    point: str
    persona: Persona
    profile: Profile
    nth: int = 1

    def slower(self) -> Crash:
        """The same with a run that takes five times as long."""
        return replace(self, persona=self.persona.with_(rate=self.persona.rate / 5))

    @property
    def max_duration_s(self) -> int:
        """The bound of the run's time."""
        if not self.persona.needs_bound:
            return LONGEST_S
        return LONGEST_TAKEN_OVER_S if self.point in _AT_TAKEOVER else LONGEST_SILENT_S


def every_crash() -> list[Crash]:
    """Each point with each persona that may reach it. A persona that fits both profiles is tried under
    one at a point and under the other at the next."""
    found: list[Crash] = []
    for place, point in enumerate(_IN_RUNS):
        for number, persona in enumerate(PERSONAS):
            if point == "awaiting_input" and not persona.asks:
                continue
            # An honest replay has no discontinuity.
            full = persona.fits("full") and (place + number) % 2 == 0 and point != "discontinuity"
            found.append(Crash(point, persona, "full" if full else "none"))
            if point in _OFTEN and persona.kind != "poll":
                found.append(Crash(point, persona, "full" if full else "none", nth=9))
    return found


def sampled_crashes(personas: Sequence[Persona]) -> list[Crash]:
    """Each point with each of a few personas."""
    asks = next(persona for persona in PERSONAS if persona.asks)
    found = []
    for point in _IN_RUNS:
        for persona in [asks] if point == "awaiting_input" else personas:
            profile: Profile = "full" if persona.fits("full") and point != "discontinuity" else "none"
            nth = 9 if point in _OFTEN else 1
            found.append(Crash(point, persona, profile, nth))
    return found


async def crash_case(environment: Environment, crash: Crash, ways: Sequence[str]) -> Result:
    """Bring a replica to the point, see it die, let another go on, check the run."""
    persona, max_duration_s = crash.persona, crash.max_duration_s
    if crash.point in _AT_BREAK and not persona.cut:
        persona = persona.with_(cut=8, cuts=1)
    if crash.point in _AT_TAKEOVER | _AT_STOP and persona.rate:
        # It goes on until its owner is dead, or stops.
        persona = persona.with_(holds=_HELD)
    async with open_rig(environment, crash.profile, IDEO_RUN_MAX_DURATION_S=str(max_duration_s)) as rig:
        armed = f"{crash.point}:{crash.nth}"
        if crash.point in _AT_TAKEOVER:
            await asyncio.gather(rig.start("A"), rig.start("C", IDEO_CRASH_POINT=armed))
            run = await rig.run(persona, via="A", ways=ways)
            await _seen(run, 5)
            await rig.replicas["A"].kill()
            died_at = await _death(rig, "C", run, max_duration_s + 15)
            await rig.release(run)
            await rig.start("B")
        elif crash.point in _AT_REPORT:
            await rig.start("A", IDEO_CRASH_POINT=armed)
            run = await rig.run(persona, via="A", ways=ways)
            died_at = await _death(rig, "A", run, max_duration_s + 15, late_s=10)
            await rig.start("B")
        else:
            await asyncio.gather(rig.start("A", IDEO_CRASH_POINT=armed), rig.start("B"))
            run = await rig.run(persona, via="A", ways=ways)
            if crash.point in _AT_STOP:
                await _seen(run, 5)
                rig.replicas["A"].signal(signal.SIGTERM)
            died_at = await _death(rig, "A", run, max_duration_s + 15)
            await rig.release(run)
        result = await rig.settle("crash at a named point", within_s=max_duration_s + 15)
        if died_at is None:
            # The run took another way: it is checked all the same, but counts for nothing.
            result.tried = result.survived = 0
        else:
            result.recovery_s = rig.recoveries(died_at)
        label = f"{crash.point}:{crash.nth} × {crash.persona.name} ({crash.profile})"
        result.notes[label] = "reached" if died_at else "not reached"
        for number, violation in enumerate(result.violations):
            result.violations[number] = type(violation)(violation.rule, violation.detail, label)
        return result


async def _seen(run: Run, seq: int) -> None:
    """Wait until a client has an event, or the last one."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(60):
            while not run.over and max(recorder.cursor for recorder in run.recorders) < seq:
                await asyncio.sleep(0.02)


async def _death(rig: Rig, name: str, run: Run, within_s: float, *, late_s: float = 0.5) -> float | None:
    """When the replica died at its point; None when the run was over before it came there. late_s: for how
    long after the run's end it may come there."""
    gone = asyncio.ensure_future(rig.replicas[name].gone())
    over = asyncio.ensure_future(asyncio.wait(run.tasks))
    both: set[asyncio.Future[Any]] = {gone, over}
    await asyncio.wait(both, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    if not gone.done():
        # The last points come right after the end.
        await asyncio.wait({gone}, timeout=late_s)
    if gone.done() and gone.result() == EXIT_CODE:
        return time.monotonic()
    gone.cancel()
    over.cancel()
    return None
