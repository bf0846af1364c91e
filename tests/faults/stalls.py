"""A stall longer than a lease in which nobody died: no run changes its owner, and none is cut."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence

from tests.faults.ownership import start_runs
from tests.faults.personas import Profile
from tests.faults.rig.environment import Environment, Rig, open_rig
from tests.faults.rig.report import Result

_CUT = "SELECT thread_id, fence, epoch FROM runs WHERE fence > 1 OR epoch > 1"


async def only_replica_paused(
    environment: Environment,
    profile: Profile,
    ways: Sequence[str],
    *,
    runs: int,
    stall_s: float,
    ttl_s: float,
) -> Result:
    """SIGSTOP and SIGCONT of the only replica, as when a laptop sleeps."""
    async with open_rig(environment, profile, IDEO_LEASE_TTL_S=str(ttl_s), IDEO_RUN_IDLE_S="60") as rig:
        await rig.start("A")
        await start_runs(rig, runs, stall_s + 8, ways)
        await asyncio.sleep(1)
        rig.replicas["A"].signal(signal.SIGSTOP)
        await asyncio.sleep(stall_s)
        rig.replicas["A"].signal(signal.SIGCONT)
        return await _settle(rig, f"only replica paused for {stall_s:.0f} s", within_s=stall_s + 60)


async def database_hangs(
    environment: Environment,
    profile: Profile,
    ways: Sequence[str],
    *,
    runs: int,
    stall_s: float,
    ttl_s: float,
) -> Result:
    """SIGSTOP and SIGCONT of every process of PostgreSQL, beside two replicas."""
    async with open_rig(environment, profile, IDEO_LEASE_TTL_S=str(ttl_s), IDEO_RUN_IDLE_S="60") as rig:
        await rig.start("A", "B")
        await start_runs(rig, runs, stall_s + 8, ways)
        await asyncio.sleep(1)
        with environment.database.paused():
            await asyncio.sleep(stall_s)
        return await _settle(rig, f"PostgreSQL hangs for {stall_s:.0f} s", within_s=stall_s + 60)


async def _settle(rig: Rig, fault: str, *, within_s: float) -> Result:
    since = time.monotonic()
    result = await rig.settle(fault, within_s=within_s)
    result.recovery_s = rig.recoveries(since)
    for cut in await rig.rows(_CUT):
        result.fail("cut", f"{cut['thread_id']}: fence {cut['fence']}, epoch {cut['epoch']}")
    return result
