"""The full campaign: `make faults`, or `python -m tests.faults PART …`. See docs/reference/faults.md."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.faults.acceptances import every_acceptance
from tests.faults.crashes import crash_case, every_crash
from tests.faults.mix import random_mix
from tests.faults.outages import database_loses_commits, database_outage, database_way
from tests.faults.ownership import owner_killed, owner_paused, owner_stopped, rolling_restart
from tests.faults.personas import HONEST, PERSONAS, Cut, Persona, Profile
from tests.faults.queued_starts import every_busy_start
from tests.faults.replies import every_reply
from tests.faults.rig.environment import Environment, open_environment, open_rig
from tests.faults.rig.report import Result, as_json, as_table
from tests.faults.stalls import database_hangs, only_replica_paused
from tests.faults.stuck_readers import stuck_readers
from tests.faults.takeovers import many_takeovers
from tests.faults.upstream import cut_at_frames, every_frame
from tests.support.client import WAYS

PROFILES: tuple[Profile, ...] = ("full", "none")
EVERY_PROFILE: tuple[Profile, ...] = (*PROFILES, "ids")
#: The lease as it is by default: the figures are for it.
TTL_S = 15
#: Crash cases at a time: each has two or three processes.
CRASHES_AT_ONCE = 4


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    minutes: float
    seed: int


def log(text: str) -> None:
    """Print the progress to standard error."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


async def personas(environment: Environment, options: Options) -> list[Result]:
    """Every persona, without any other fault, in every way of following."""
    total = Result("no fault but the persona's")
    for profile in EVERY_PROFILE:
        async with open_rig(environment, profile, IDEO_RUN_MAX_DURATION_S="12") as rig:
            await rig.start("A", "B")
            for persona in PERSONAS:
                if persona.fits(profile):
                    await rig.run(persona, via="A", ways=WAYS)
            total.add(await rig.settle("", within_s=60))
    return [total]


async def crashes(environment: Environment, options: Options) -> list[Result]:
    """Every named point with every persona."""
    room = asyncio.Semaphore(CRASHES_AT_ONCE)
    total = Result("crash at a named point")
    cases = every_crash()
    done = 0

    async def one(number: int) -> None:
        nonlocal done
        async with room:
            ways = [WAYS[number % len(WAYS)], WAYS[(number + 3) % len(WAYS)]]
            total.add(await crash_case(environment, cases[number], ways))
        done += 1
        if done % 25 == 0:
            log(f"{done} of {len(cases)} crashes, {len(total.violations)} violations")

    await asyncio.gather(*(one(number) for number in range(len(cases))))
    return [total]


async def acceptances(environment: Environment, options: Options) -> list[Result]:
    """Each point of an acceptance, 13 times."""
    return [await every_acceptance(environment, times=13)]


async def queued(environment: Environment, options: Options) -> list[Result]:
    """Each point of a start on a busy draft, and the death of the replica whose run others wait for."""
    return [await every_busy_start(environment, ttl_s=TTL_S)]


async def replies(environment: Environment, options: Options) -> list[Result]:
    """Each point of a reply to an agent, 5 times."""
    return [await every_reply(environment, ttl_s=TTL_S, times=5)]


async def upstream(environment: Environment, options: Options) -> list[Result]:
    """The stream cut after every frame of a run."""
    results: dict[str, Result] = {}
    kinds: list[tuple[Persona, Profile]] = [
        (HONEST, "full"),
        (HONEST, "none"),
        (HONEST.with_(rate=100), "full"),
        (HONEST.with_(rate=100), "none"),
        (HONEST.with_(name="live only", kind="live", rate=100), "none"),
        (HONEST.with_(name="frames with ids", script="made-21-51", rate=100), "ids"),
    ]
    hows: tuple[Cut, ...] = ("close", "reset", "half", "1011")
    for how in hows:
        for persona, profile in kinds:
            found = await cut_at_frames(
                environment, persona, profile, how, every_frame(persona.script), ["ws-json", "grpc"]
            )
            results.setdefault(how, Result(found.fault)).add(found)
    return list(results.values())


async def ownership(environment: Environment, options: Options) -> list[Result]:
    """The owner killed, paused, stopped."""
    results = []
    for make in (owner_killed, owner_paused, owner_stopped):
        total: Result | None = None
        for profile in PROFILES:
            found = await make(environment, profile, WAYS, runs=8, ttl_s=TTL_S)
            if total is None:
                total = found
            else:
                total.add(found)
        assert total is not None
        results.append(total)
    return results


async def database(environment: Environment, options: Options) -> list[Result]:
    """PostgreSQL restarted, away, without its connections."""
    results = []
    for profile in PROFILES:
        results += [
            await database_outage(
                environment, profile, WAYS, outage="restart", runs=20, times=3, ttl_s=TTL_S
            ),
            await database_outage(
                environment, profile, WAYS, outage="backends", runs=20, times=5, ttl_s=TTL_S
            ),
            await database_outage(environment, profile, WAYS, outage="away", runs=20, away_s=30, ttl_s=TTL_S),
            await database_loses_commits(environment, profile, WAYS, runs=20, lost_s=6, ttl_s=TTL_S),
            await database_way(environment, profile, WAYS, how="close", runs=20),
            await database_way(environment, profile, WAYS, how="swallow", runs=20),
        ]
    return merged(results)


async def stalls(environment: Environment, options: Options) -> list[Result]:
    """The only replica paused, PostgreSQL hanging, for longer than the lease."""
    results = []
    for profile in PROFILES:
        for fault in (only_replica_paused, database_hangs):
            results.append(await fault(environment, profile, WAYS, runs=20, stall_s=25, ttl_s=TTL_S))
    return merged(results)


async def takeovers(environment: Environment, options: Options) -> list[Result]:
    """Hundreds of runs at once change their owner: after a kill within 20 s, after SIGTERM within 2 s."""
    return [
        await many_takeovers(environment, "none", runs=500, how="killed", within_s=20, ttl_s=TTL_S),
        await many_takeovers(environment, "none", runs=300, how="stopped", within_s=2, ttl_s=TTL_S),
    ]


async def readers(environment: Environment, options: Options) -> list[Result]:
    """Stuck readers."""
    return [await stuck_readers(environment, good=100, stuck=100)]


async def rolling(environment: Environment, options: Options) -> list[Result]:
    """Rolling restarts."""
    return merged(
        [
            await rolling_restart(environment, profile, WAYS, at_once=8, rounds=2, ttl_s=TTL_S)
            for profile in PROFILES
        ]
    )


async def mix(environment: Environment, options: Options) -> list[Result]:
    """The random mix, half the minutes under each profile, side by side."""
    found = await asyncio.gather(
        *(
            random_mix(environment, profile, WAYS, minutes=options.minutes / 2, seed=options.seed)
            for profile in PROFILES
        )
    )
    return merged(list(found))


def merged(results: list[Result]) -> list[Result]:
    """Results of one fault as one."""
    found: dict[str, Result] = {}
    for result in results:
        if result.fault in found:
            found[result.fault].add(result)
        else:
            found[result.fault] = result
    return list(found.values())


PARTS: dict[str, Callable[[Environment, Options], Awaitable[list[Result]]]] = {
    "personas": personas,
    "crashes": crashes,
    "acceptances": acceptances,
    "queued": queued,
    "replies": replies,
    "upstream": upstream,
    "ownership": ownership,
    "takeovers": takeovers,
    "stalls": stalls,
    "database": database,
    "readers": readers,
    "rolling": rolling,
    "mix": mix,
}


async def campaign(parts: list[str], options: Options) -> list[Result]:
    """The parts, one after the other."""
    results: list[Result] = []
    async with open_environment() as environment:
        for name in parts:
            log(name)
            found = await PARTS[name](environment, options)
            for result in found:
                for violation in result.violations:
                    log(f"VIOLATION {violation.run}: {violation.rule}: {violation.detail}")
            log(f"{name}: {sum(len(result.violations) for result in found)} violations")
            results += found
    return results


def main() -> int:
    """Run it; 1 on any violation."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--minutes", type=float, default=4.0, help="how long the random mix goes on")
    parser.add_argument("--seed", type=int, default=None, help="of the random mix; printed")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    given = parser.parse_args()
    unknown = set(given.parts) - PARTS.keys()
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1 << 32)
    log(f"seed {seed}")
    began = time.monotonic()
    results = asyncio.run(campaign(given.parts or list(PARTS), Options(given.minutes, seed)))
    seconds = round(time.monotonic() - began)
    if given.json:
        print(as_json(results, seed=seed, seconds=seconds))
    else:
        print(as_table(results))
        print(f"seed {seed}, {seconds} s")
    return 1 if any(result.violations for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
