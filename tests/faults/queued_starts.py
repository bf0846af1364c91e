"""A replica dies during a start on a busy draft, or while a queued run waits for one of its runs."""

from __future__ import annotations

import time

from server.domain.crash_points import EXIT_CODE
from tests.faults.crashes import AT_BUSY
from tests.faults.ownership import HELD, long_run
from tests.faults.rig.environment import Environment, NotStarted, Rig, open_rig
from tests.faults.rig.report import Result
from tests.faults.rig.run import Run
from tests.support.client import WAYS

FAULT = "crash while runs are queued"
#: How a superseded run may end.
_CANCELLED = frozenset({("cancelled", "cancelled")})

#: Runs that began while another one was under way; all are of one draft.
_OVERLAPS = """
SELECT count(*) FROM runs a JOIN runs b ON a.thread_id <> b.thread_id
  AND a.created_at BETWEEN b.created_at AND b.finished_at
"""


async def owner_of_predecessor_killed(environment: Environment, *, queued: int, ttl_s: float) -> Result:
    """kill -9 of the replica whose run the others wait for: each of them begins once, one at a time."""
    async with open_rig(environment, "full", IDEO_LEASE_TTL_S=str(ttl_s)) as rig:
        await rig.start("A", "B")
        first = await _run(rig, 0, via="A")
        for number in range(1, queued + 1):
            await _run(rig, number, via="B", when_busy="enqueue")
        since = time.monotonic()
        await rig.replicas["A"].kill()
        await rig.release(first)
        result = await rig.settle(FAULT, within_s=ttl_s * 4 + 60)
        result.recovery_s = rig.recoveries(since)
        await _check_order(rig, result)
        return result


async def busy_start_case(environment: Environment, point: str, *, ttl_s: float) -> Result:
    """Die at a point of a start on a busy draft, or where a queued run begins; the other replica goes on."""
    result = Result(FAULT)
    async with open_rig(environment, "full", IDEO_LEASE_TTL_S=str(ttl_s)) as rig:
        await rig.start("A", IDEO_CRASH_POINT=point)
        # Another replica could begin the queued run before this one dies there.
        alone = point == "dequeued"
        if not alone:
            await rig.start("B")
        first = await _run(rig, 0, via="A" if alone else "B")
        if point == "in_supersede":
            await _dies_in_supersede(rig, result)
            await _run(rig, 1, via="B", when_busy="supersede")
        else:
            await _run(rig, 1, via="A", when_busy="enqueue")
            if alone:
                await rig.release(first)
            if await rig.replicas["A"].gone(60) != EXIT_CODE:
                result.fail("refused", f"{point}: the replica did not die there")
            if alone:
                await rig.start("B")
        await rig.release(first)
        await rig.end(rig.runs, within_s=ttl_s * 4 + 60)
        for run in rig.runs:
            superseded = run is first and point == "in_supersede"
            result.add(await rig.check(run, _CANCELLED if superseded else frozenset()))
        if point != "in_supersede":
            await _check_order(rig, result)
    return result


async def _dies_in_supersede(rig: Rig, result: Result) -> None:
    """The replica dies within the transaction: no run is stored, and the other one goes on."""
    try:
        await _run(rig, 1, via="A", when_busy="supersede")
    except NotStarted:
        if await rig.replicas["A"].gone(60) == EXIT_CODE:
            (row,) = await rig.rows("SELECT count(*) FROM runs WHERE cancel_requested_at IS NOT NULL")
            if row["count"]:
                result.fail("lost", "in_supersede: a run is cancelled for one that was not stored")
            return
    result.fail("refused", "in_supersede: the replica did not die there")


async def _run(rig: Rig, number: int, *, via: str, when_busy: str | None = None) -> Run:
    ways = [WAYS[number % len(WAYS)], WAYS[(number + 3) % len(WAYS)]]
    # The first one does not end before the others have been started.
    persona = long_run(1.0, live=False, number=number).with_(holds=0 if number else HELD)
    return await rig.run(persona, via=via, ways=ways, when_busy=when_busy)


async def _check_order(rig: Rig, result: Result) -> None:
    (row,) = await rig.rows(_OVERLAPS)
    if row["count"]:
        result.fail("order", f"{row['count']} runs of the draft began before another one was over")


async def every_busy_start(environment: Environment, *, ttl_s: float) -> Result:
    """Each point of a start on a busy draft, and the death of the replica whose run others wait for."""
    total = await owner_of_predecessor_killed(environment, queued=2, ttl_s=ttl_s)
    for point in AT_BUSY:
        total.add(await busy_start_case(environment, point, ttl_s=ttl_s))
    return total
