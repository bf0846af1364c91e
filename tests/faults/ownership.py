"""The owner of runs dies, is paused and comes back, or is asked to leave; another replica goes on."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence

from tests.faults.personas import HONEST, LIVE, Persona, Profile
from tests.faults.rig.environment import Environment, Rig, open_rig
from tests.faults.rig.report import Result

#: Frames of a run that is held until others are under way, too.
HELD = 5


def long_run(seconds: float, *, live: bool, number: int = 0, rate: float = 25.0) -> Persona:
    """A run that lasts so long."""
    script = f"made-{100 + number}-{max(int(seconds * rate), 20)}"
    return (LIVE if live else HONEST).with_(name=f"{seconds:.0f} s run", script=script, rate=rate)


async def start_runs(rig: Rig, count: int, seconds: float, ways: Sequence[str], via: str = "A") -> None:
    """Runs under way, each followed in two of the ways by clients that have an event; they last so long from
    when all of them are."""
    for number in range(count):
        persona = long_run(seconds, live=rig.profile == "none", number=number).with_(holds=HELD)
        two = [ways[number % len(ways)], ways[(number + 1) % len(ways)]]
        await rig.run(persona, via=via, ways=two)
    started = [recorder.started.wait() for run in rig.runs for recorder in run.recorders]
    await asyncio.wait_for(asyncio.gather(*started), 60)
    await rig.release(*rig.runs)


async def owner_killed(
    environment: Environment, profile: Profile, ways: Sequence[str], *, runs: int, ttl_s: float
) -> Result:
    """kill -9 of the owner."""
    async with open_rig(environment, profile, IDEO_LEASE_TTL_S=str(ttl_s)) as rig:
        await rig.start("A", "B")
        await start_runs(rig, runs, ttl_s * 1.4 + 8, ways)
        await asyncio.sleep(1)
        await rig.replicas["A"].kill()
        since = time.monotonic()
        result = await rig.settle("kill -9 of the owner", within_s=ttl_s * 4 + 30)
        result.recovery_s = rig.recoveries(since)
        return result


async def owner_paused(
    environment: Environment, profile: Profile, ways: Sequence[str], *, runs: int, ttl_s: float
) -> Result:
    """SIGSTOP of the owner until another has taken its runs, then SIGCONT: it wakes up as a zombie in
    the middle of its work."""
    async with open_rig(environment, profile, IDEO_LEASE_TTL_S=str(ttl_s)) as rig:
        await rig.start("A", "B")
        await start_runs(rig, runs, ttl_s * 3 + 10, ways)
        await asyncio.sleep(1)
        since = time.monotonic()
        rig.replicas["A"].signal(signal.SIGSTOP)
        await asyncio.sleep(ttl_s * 1.5 + 2)
        rig.replicas["A"].signal(signal.SIGCONT)
        result = await rig.settle("SIGSTOP, SIGCONT of the owner", within_s=ttl_s * 4 + 40)
        result.recovery_s = rig.recoveries(since)
        zombies = sum(violation.rule == "zombie" for violation in result.violations)
        result.notes["zombie writes accepted"] = zombies
        return result


async def owner_stopped(
    environment: Environment, profile: Profile, ways: Sequence[str], *, runs: int, ttl_s: float
) -> Result:
    """SIGTERM of the owner: it hands its runs over."""
    async with open_rig(environment, profile, IDEO_LEASE_TTL_S=str(ttl_s)) as rig:
        await rig.start("A", "B")
        await start_runs(rig, runs, 10, ways)
        await asyncio.sleep(1)
        since = time.monotonic()
        rig.replicas["A"].signal(signal.SIGTERM)
        code = await rig.replicas["A"].gone(40)
        left_s = time.monotonic() - since
        result = await rig.settle("SIGTERM of the owner", within_s=60)
        result.recovery_s = rig.recoveries(since)
        result.notes["SIGTERM: process gone after s"] = round(left_s, 1)
        if code != 0:
            result.fail("exit", f"SIGTERM ended with {code}")
        return result


async def rolling_restart(
    environment: Environment,
    profile: Profile,
    ways: Sequence[str],
    *,
    at_once: int,
    rounds: int,
    ttl_s: float,
) -> Result:
    """Two replicas restarted in turn, while runs begin and end all the time."""
    async with open_rig(environment, profile, IDEO_LEASE_TTL_S=str(ttl_s)) as rig:
        await rig.start("A", "B")
        over = asyncio.Event()
        staying = {"A": True, "B": True}

        async def load(number: int) -> None:
            while not over.is_set():
                names = [name for name, stays in staying.items() if stays and rig.replicas[name].up]
                if not names:
                    await asyncio.sleep(0.1)
                    continue
                persona = long_run(3, live=profile == "none", number=len(rig.runs), rate=20)
                two = [ways[(number + len(rig.runs)) % len(ways)], ways[(number + 1) % len(ways)]]
                run = await rig.run(persona, via=names[number % len(names)], ways=two)
                await asyncio.wait(run.tasks, timeout=60)

        loads = [asyncio.create_task(load(number)) for number in range(at_once)]
        gone_s = []
        for _ in range(rounds):
            for name in ("A", "B"):
                await asyncio.sleep(2)
                # A balancer sends no new work to a replica that is not ready.
                staying[name] = False
                began = time.monotonic()
                rig.replicas[name].signal(signal.SIGTERM)
                await rig.replicas[name].gone(60)
                gone_s.append(time.monotonic() - began)
                await rig.start(name)
                staying[name] = True
        over.set()
        done, _ = await asyncio.wait(loads, timeout=60)
        result = await rig.settle("rolling restart under load", within_s=60)
        for load_task in done:
            if (fault := load_task.exception()) is not None:
                result.fail("start", repr(fault))
        result.notes["rolling restart: longest drain s"] = round(max(gone_s), 1)
        return result
