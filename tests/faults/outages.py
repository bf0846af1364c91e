"""PostgreSQL restarts, is away, or loses every connection, under live runs; and the ways break."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tests.faults.ownership import start_runs
from tests.faults.personas import Profile
from tests.faults.rig.environment import Environment, open_rig
from tests.faults.rig.report import Result
from tests.support.proxy import How, proxy

Outage = Literal["restart", "away", "backends"]


async def database_outage(
    environment: Environment,
    profile: Profile,
    ways: Sequence[str],
    *,
    outage: Outage,
    runs: int,
    away_s: float = 0.0,
    times: int = 1,
    ttl_s: float = 2.0,
) -> Result:
    """The outage, `times` over, while `runs` go on."""
    name = {"restart": "PostgreSQL restarted at once", "backends": "all backends killed"}.get(
        outage, f"PostgreSQL away for {away_s:.0f} s"
    )
    async with open_rig(environment, profile, IDEO_LEASE_TTL_S=str(ttl_s)) as rig:
        await rig.start("A", "B")
        await start_runs(rig, runs, 5 + away_s + 2 * times, ways)
        killed = 0
        since = 0.0
        for _ in range(times):
            await asyncio.sleep(1)
            if outage == "backends":
                killed += await environment.database.kill_backends()
                since = time.monotonic()
            else:
                await environment.database.stop(immediate=True)
                await asyncio.sleep(away_s)
                await environment.database.start()
                since = time.monotonic()
        result = await rig.settle(name, within_s=90 + away_s)
        result.recovery_s = rig.recoveries(since)
        if killed:
            result.notes["backends killed"] = killed
        return result


async def database_loses_commits(
    environment: Environment, profile: Profile, ways: Sequence[str], *, runs: int, lost_s: float, ttl_s: float
) -> Result:
    """PostgreSQL comes back without its newest seconds, as after a failover to a late standby: the runs that
    readers follow get back what was lost, and no reader has anything else than the journal."""
    async with open_rig(environment, profile, IDEO_LEASE_TTL_S=str(ttl_s)) as rig:
        await rig.start("A", "B")
        await start_runs(rig, runs, lost_s + 8, ways)
        await asyncio.sleep(1)
        environment.database.snapshot()
        await asyncio.sleep(lost_s)
        await environment.database.lose_commits()
        since = time.monotonic()
        result = await rig.settle(f"PostgreSQL without its last {lost_s:.0f} s", within_s=90 + lost_s)
        result.recovery_s = rig.recoveries(since)
        return result


async def database_way(
    environment: Environment, profile: Profile, ways: Sequence[str], *, how: How, runs: int, times: int = 3
) -> Result:
    """The way to PostgreSQL breaks for all connections at once, while the server lives on."""
    async with proxy(environment.database.socket, at=_socket(environment)) as between:
        between_dir = _socket(environment).parent
        async with open_rig(environment, profile, socket_dir=between_dir) as rig:
            await rig.start("A", "B")
            await start_runs(rig, runs, 10, ways)
            since = 0.0
            for _ in range(times):
                await asyncio.sleep(1)
                between.break_all(how)
                since = time.monotonic()
            result = await rig.settle(f"way to PostgreSQL: {how}", within_s=120)
            result.recovery_s = rig.recoveries(since)
            result.notes[f"database connections broken ({how})"] = between.broken
        return result


def _socket(environment: Environment) -> Path:
    folder = environment.folder / "between"
    folder.mkdir(exist_ok=True)
    return folder / ".s.PGSQL.5432"
