"""Hundreds of runs change their owner at once: how long it takes until all of them go on."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Literal

from tests.faults.ownership import long_run
from tests.faults.personas import Profile
from tests.faults.rig.environment import Environment, Rig, open_rig
from tests.faults.rig.report import Result

#: Starts at a time, and frames a second of each run.
STARTS_AT_ONCE, RATE = 8, 1.0

#: Runs of another owner that have a new event since.
_GO_ON = "SELECT count(*) FROM runs WHERE fence > 1 AND owner IS NOT NULL AND last_seq > takeover_seq"


async def many_takeovers(
    environment: Environment,
    profile: Profile,
    *,
    runs: int,
    how: Literal["killed", "stopped"],
    within_s: float,
    ttl_s: float,
) -> Result:
    """The owner of so many live runs is killed, or stopped: elsewhere each has a new event soon."""
    async with open_rig(environment, profile, IDEO_LEASE_TTL_S=str(ttl_s), IDEO_RUN_IDLE_S="120") as rig:
        await rig.start("A", "B")
        await _start_many(rig, runs)
        since = time.monotonic()
        rig.replicas["A"].signal(signal.SIGKILL if how == "killed" else signal.SIGTERM)
        result = Result(f"owner of {runs} runs {how}", tried=runs)
        while result.survived < runs and time.monotonic() - since < ttl_s * 4 + 60:
            (row,) = await rig.rows(_GO_ON)
            passed_s = time.monotonic() - since
            result.recovery_s += [passed_s] * (row["count"] - result.survived)
            result.survived = row["count"]
            await asyncio.sleep(0.05)
        slowest_s = max(result.recovery_s, default=float("inf"))
        if result.survived < runs or slowest_s > within_s:
            result.fail("takeover", f"{result.survived} of {runs} runs after {slowest_s:.1f} s")
        await rig.replicas["A"].gone(40)
        return result


async def _start_many(rig: Rig, runs: int) -> None:
    """Live runs of one replica, which nobody follows."""
    await rig.make_workflow("A")
    room = asyncio.Semaphore(STARTS_AT_ONCE)

    async def one(number: int) -> None:
        async with room:
            await rig.start_run(
                long_run(600, live=rig.profile == "none", number=number % 10, rate=RATE), via="A"
            )

    await asyncio.gather(*(one(number) for number in range(runs)))
