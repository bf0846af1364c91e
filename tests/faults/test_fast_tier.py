"""The fast tier: a sample of the campaign (docs/reference/faults.md), on every change.

Leases are short here; the figures for the real one come from `make faults`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tests.faults.acceptances import every_acceptance
from tests.faults.crashes import (
    AT_ACCEPT,
    AT_REPLY,
    LONGEST_S,
    LONGEST_SILENT_S,
    crash_case,
    sampled_crashes,
)
from tests.faults.outages import database_loses_commits, database_outage
from tests.faults.ownership import owner_killed, owner_paused, owner_stopped
from tests.faults.personas import HONEST, LIVE, PERSONAS, Cut, Persona, Profile
from tests.faults.queued_starts import every_busy_start
from tests.faults.replies import every_reply
from tests.faults.rig.environment import Environment, open_rig
from tests.faults.rig.report import Result, as_table
from tests.faults.stalls import database_hangs, only_replica_paused
from tests.faults.upstream import cut_at_frames
from tests.support.client import WAYS

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]

PROFILES: tuple[Profile, ...] = ("full", "none")
#: The lease of the fast tier, and what a takeover may take then: lease, sweep, and a machine on which other
#: tests run.
TTL_S = 2.0
TAKEOVER_S = 30.0


def report(results: Sequence[Result]) -> None:
    """Print the table; fail on any violation."""
    table = as_table(results)
    print(f"\n{table}")
    assert not [violation for result in results for violation in result.violations], table


async def test_every_persona_of_the_runtime_gets_its_verdict(environment: Environment) -> None:
    async def all_of(profile: Profile, personas: Sequence[Persona], longest_s: int) -> Result:
        async with open_rig(environment, profile, IDEO_RUN_MAX_DURATION_S=str(longest_s)) as rig:
            await rig.start("A", "B")
            for number, persona in enumerate(personas):
                if persona.fits(profile):
                    ways = [WAYS[number % len(WAYS)], WAYS[(number + 3) % len(WAYS)]]
                    await rig.run(persona, via="AB"[number % 2], ways=ways)
            return await rig.settle(f"no fault but the persona's ({profile})", within_s=longest_s + 30)

    # A machine that is too busy must not end the runs of the others.
    for needs_bound, longest_s in ((False, LONGEST_S), (True, LONGEST_SILENT_S)):
        personas = [persona for persona in PERSONAS if persona.needs_bound == needs_bound]
        report(await asyncio.gather(*(all_of(profile, personas, longest_s) for profile in PROFILES)))


@pytest.mark.timeout(300)
async def test_a_crash_at_any_point_loses_nothing(environment: Environment) -> None:
    total = Result("crash at a named point")
    room = asyncio.Semaphore(4)

    async def one(number: int) -> None:
        async with room:
            ways = [WAYS[number % len(WAYS)], WAYS[(number + 3) % len(WAYS)]]
            result = await crash_case(environment, cases[number], ways)
            total.add(result)
            if not result.tried:
                # A busy machine commits more events together, and a run passes the point less often.
                total.add(await crash_case(environment, cases[number].slower(), ways))

    cases = sampled_crashes([HONEST.with_(rate=50), LIVE])
    await asyncio.gather(*(one(number) for number in range(len(cases))))
    report([total])
    assert total.tried == len(cases), as_table([total])


@pytest.mark.timeout(300)
async def test_a_crash_while_a_proposal_is_accepted_makes_one_version_or_none(
    environment: Environment,
) -> None:
    total = await every_acceptance(environment)
    report([total])
    assert total.tried == len(AT_ACCEPT), as_table([total])


@pytest.mark.timeout(300)
async def test_a_crash_while_runs_are_queued_begins_each_once_and_in_order(environment: Environment) -> None:
    total = await every_busy_start(environment, ttl_s=TTL_S)
    report([total])
    assert total.tried == 9, as_table([total])


@pytest.mark.timeout(300)
async def test_a_crash_while_a_person_replies_neither_loses_nor_doubles_the_reply(
    environment: Environment,
) -> None:
    total = await every_reply(environment, ttl_s=TTL_S)
    report([total])
    assert total.tried == len(AT_REPLY), as_table([total])


async def test_a_cut_on_the_way_to_the_runtime_loses_nothing_unmarked(environment: Environment) -> None:
    kinds: list[tuple[Persona, Profile]] = [
        (HONEST, "full"),
        (HONEST.with_(rate=100), "full"),
        (HONEST, "none"),
        (HONEST.with_(name="live only", kind="live", rate=100), "none"),
    ]
    hows: tuple[Cut, ...] = ("close", "reset")
    found = [
        await cut_at_frames(environment, persona, profile, how, (1, 2, 25, 49, 50, 51), ["ws-json", "sse"])
        for persona, profile in kinds
        for how in hows
    ]
    report(found)


async def test_runs_of_a_killed_or_paused_owner_go_on_elsewhere(environment: Environment) -> None:
    found = await asyncio.gather(
        *(
            fault(environment, profile, WAYS, runs=3, ttl_s=TTL_S)
            for profile in PROFILES
            for fault in (owner_killed, owner_paused)
        )
    )
    report(found)
    for result in found:
        assert len(result.recovery_s) == 3
        assert max(result.recovery_s) < TAKEOVER_S


async def test_a_stall_longer_than_the_lease_costs_no_run_its_owner_and_no_frame(
    environment: Environment,
) -> None:
    # One after the other: the server that hangs is everybody's.
    report([await only_replica_paused(environment, "none", WAYS, runs=4, stall_s=6, ttl_s=2 * TTL_S)])
    report([await database_hangs(environment, "none", WAYS, runs=4, stall_s=6, ttl_s=2 * TTL_S)])


async def test_a_postgresql_without_its_newest_commits_contradicts_no_reader(
    environment: Environment,
) -> None:
    report([await database_loses_commits(environment, "none", WAYS, runs=4, lost_s=2, ttl_s=15)])


async def test_a_stopped_owner_hands_its_runs_over(environment: Environment) -> None:
    # The lease is long: only a hand-over lets them go on.
    result = await owner_stopped(environment, "full", WAYS, runs=3, ttl_s=60)
    report([result])
    assert max(result.recovery_s) < TAKEOVER_S


async def test_a_postgresql_that_loses_its_connections_or_restarts_loses_no_event(
    environment: Environment,
) -> None:
    found = [
        await database_outage(environment, "full", WAYS, outage="backends", runs=5, times=2),
        await database_outage(environment, "none", WAYS, outage="restart", runs=5),
    ]
    report(found)
