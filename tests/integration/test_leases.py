"""Leases on a real PostgreSQL: who may take a run over, when, and which takeovers count."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from server.db.runs import CLAIM_S, PostgresRunStore
from server.domain.errors import LeaseLost, ShuttingDown
from server.domain.runs.lease import Lease, Renewed
from server.domain.runs.registry import RunRegistry
from server.domain.runs.runner import Runner
from server.domain.runs.status import RunStatus
from tests.support.driven import Driven, driven, verdict
from tests.support.hand_clock import retried, until
from tests.support.runtime import END, SILENCE, ScriptedRuntime, files_frame, serve_runtime, state_frame
from tests.support.stored import a_running_run, taken_over

EXPIRE = "UPDATE runs SET lease_until = now() - interval '1 s'"


def store(pool: Any, owner: str = "replica-2") -> PostgresRunStore:
    return PostgresRunStore(pool, owner=owner, lease_ttl_s=15)


async def test_a_run_whose_lease_ran_out_is_taken_once_with_a_higher_fence(pool: Any) -> None:
    lease = await a_running_run(pool)
    first, second = store(pool, "r2"), store(pool, "r3")
    assert await taken_over(first) == []
    await pool.execute(EXPIRE)
    taken = [*await taken_over(first), *await taken_over(second)]
    assert [(t.thread_id, t.fence, t.status) for t in taken] == [
        (lease.thread_id, lease.fence + 1, RunStatus.RUNNING)
    ]
    assert taken[0].invocation == lease.invocation
    assert taken[0].workflow_id == lease.workflow_id


async def test_released_runs_can_be_taken_at_once(pool: Any) -> None:
    leases = [await a_running_run(pool) for _ in range(3)]
    await store(pool).release(leases[:2])
    taken = await taken_over(store(pool))
    assert {lease.thread_id for lease in taken} == {lease.thread_id for lease in leases[:2]}


async def test_a_run_that_is_driven_here_is_never_taken_over_by_its_own_replica(pool: Any) -> None:
    mine, orphan = await a_running_run(pool), await a_running_run(pool)
    await pool.execute(EXPIRE)
    taken = await taken_over(store(pool), driven={mine.thread_id})
    assert [lease.thread_id for lease in taken] == [orphan.thread_id]


async def test_a_claim_that_is_executed_late_takes_nothing(pool: Any) -> None:
    """A server that hung executes what was sent before, though the caller has given up."""
    await a_running_run(pool)
    await pool.execute(EXPIRE)
    runs = store(pool)
    found_at = await runs.find_expired(())
    assert found_at is not None
    late = timedelta(seconds=CLAIM_S + 1)
    assert await runs.claim_expired(10, found_at=found_at - late) == []
    assert len(await runs.claim_expired(10, found_at=found_at)) == 1


async def test_renewing_returns_which_leases_are_held_and_what_came_for_their_runs(pool: Any) -> None:
    mine, lost, asked, answered = [await a_running_run(pool) for _ in range(4)]
    runs = store(pool)
    await pool.execute("UPDATE runs SET fence = 9 WHERE thread_id = $1", lost.thread_id)
    await runs.request_cancel(asked.thread_id)
    await pool.execute("UPDATE runs SET reply = '{}' WHERE thread_id = $1", answered.thread_id)
    held = await runs.renew([(lease.thread_id, lease.fence) for lease in (mine, lost, asked, answered)])
    assert held == {
        mine.thread_id: Renewed(),
        asked.thread_id: Renewed(cancelled=True),
        answered.thread_id: Renewed(replied=True),
    }


async def test_a_lease_that_nobody_else_took_is_renewed_after_its_time(pool: Any) -> None:
    lease = await a_running_run(pool)
    await pool.execute("UPDATE runs SET lease_until = now() - interval '1 hour'")
    assert await store(pool).renew([(lease.thread_id, lease.fence)]) == {lease.thread_id: Renewed()}
    assert await taken_over(store(pool)) == []


async def test_a_lost_lease_cannot_change_the_runs_status(pool: Any) -> None:
    lease = await a_running_run(pool)
    stale = replace(lease, fence=lease.fence - 1)
    with pytest.raises(LeaseLost):
        await store(pool).set_status(stale, RunStatus.INVOKING, attempt=2)
    with pytest.raises(LeaseLost):
        await store(pool).await_input(stale, 1)


async def test_the_age_of_a_run_is_the_databases_whatever_the_replicas_clocks_say(pool: Any) -> None:
    # The proposal was made at a moment of the replica's clock that is months away.
    await a_running_run(pool)
    await pool.execute("UPDATE runs SET created_at = created_at - interval '90 s', lease_until = NULL")
    (lease,) = await taken_over(store(pool))
    assert lease.age_s == pytest.approx(90, abs=20)


# --- Which takeovers count ---------------------------------------------------------------------


async def killed(pool: Any) -> Lease:
    """The lease of a takeover after the owner was killed."""
    await pool.execute(EXPIRE)
    (lease,) = await taken_over(store(pool))
    return lease


async def test_takeovers_without_progress_are_counted(pool: Any) -> None:
    await a_running_run(pool)
    counts = [(await killed(pool)).takeovers for _ in range(3)]
    await pool.execute("UPDATE runs SET last_seq = 7")
    counts.append((await killed(pool)).takeovers)
    assert counts == [1, 2, 3, 1]


async def test_handed_over_leases_are_not_a_crash_loop(pool: Any) -> None:
    await a_running_run(pool)
    counts = []
    lease = await killed(pool)
    for _ in range(8):
        counts.append(lease.takeovers)
        await store(pool).release([lease])
        (lease,) = await taken_over(store(pool))
    assert counts == [1] * 8


async def test_a_quiet_run_that_lived_on_between_its_takeovers_is_not_in_a_crash_loop(pool: Any) -> None:
    await a_running_run(pool)
    counts = []
    for _ in range(8):
        lease = await killed(pool)
        counts.append(lease.takeovers)
        await store(pool).renew([(lease.thread_id, lease.fence)], advanced=[lease.thread_id])
    assert counts == [1] * 8


async def test_a_renewal_of_a_run_that_got_no_further_leaves_the_count(pool: Any) -> None:
    await a_running_run(pool)
    counts = []
    for _ in range(3):
        lease = await killed(pool)
        counts.append(lease.takeovers)
        await store(pool).renew([(lease.thread_id, lease.fence)])
    assert counts == [1, 2, 3]


async def test_a_run_that_waits_for_a_person_is_not_in_a_crash_loop(pool: Any) -> None:
    await a_running_run(pool)
    counts = []
    for _ in range(8):
        lease = await killed(pool)
        counts.append(lease.takeovers)
        await store(pool).await_input(lease, 1)
    assert counts == [1] * 8


# --- Through the hub ---------------------------------------------------------------------------


@asynccontextmanager
async def quiet(database: str, pool: Any, *frames: Any, **settings: Any) -> AsyncIterator[Driven]:
    """A hub whose runtime sends the frames and then is silent."""
    script = ScriptedRuntime([[*frames, SILENCE]])
    async with serve_runtime(script) as url, driven(url, database, pool, **settings) as on:
        yield on


async def fences(pool: Any) -> list[int]:
    return [row["fence"] for row in await pool.fetch("SELECT fence FROM runs ORDER BY thread_id")]


async def test_an_owner_whose_leases_ran_out_goes_on_where_it_was(database: str, pool: Any) -> None:
    async with quiet(database, pool, files_frame(a="1"), limits={"renew_s": 0.1}) as on:
        runs = [await on.start() for _ in range(5)]
        for _ in range(3):
            await pool.execute(EXPIRE)
            await on.core.runner.sweep()
            await until_renewed(pool)
        assert await fences(pool) == [1] * 5
        assert on.core.runner.live == 5
        for started in runs:
            await on.core.refinements.cancel(on.user, started.thread_id)
            assert (await on.outcome(started))[1][-1].epoch == 1


async def until_renewed(pool: Any) -> None:
    async with asyncio.timeout(60):
        while await pool.fetchval("SELECT count(*) FROM runs WHERE lease_until < now()"):
            await asyncio.sleep(0.01)


async def test_a_sweep_takes_all_runs_that_nobody_drives(database: str, pool: Any) -> None:
    orphans = [await a_running_run(pool) for _ in range(25)]
    await pool.execute(EXPIRE)
    async with quiet(database, pool, limits={"max_claim_runs": 10, "sweep_s": 3600.0}) as on:
        await until(lambda: on.core.runner.live == len(orphans))
    assert await fences(pool) == [3] * 25


class LateAnswers(PostgresRunStore):
    """Claims that are committed, and whose answers come once `answer` is set."""

    def __init__(self, pool: Any) -> None:
        super().__init__(pool, owner="r", lease_ttl_s=15)
        self.committed, self.answer = asyncio.Event(), asyncio.Event()

    async def claim_expired(self, limit: int, **condition: Any) -> Sequence[Lease]:
        leases = await super().claim_expired(limit, **condition)
        self.committed.set()
        await self.answer.wait()
        return leases


@asynccontextmanager
async def runner_beside(on: Driven, runs: PostgresRunStore) -> AsyncIterator[Runner]:
    """Another runner of the hub's, with a store of its own."""
    runner = Runner(replace(on.core.runner.context, runs=runs), RunRegistry())
    try:
        yield runner
    finally:
        await runner.close()


async def test_runs_that_a_sweep_has_claimed_are_driven_though_its_caller_has_left(
    database: str, pool: Any
) -> None:
    async with quiet(database, pool, limits={"sweep_s": 3600.0}) as on:
        await on.core.runner.close()
        await a_running_run(pool)
        await pool.execute(EXPIRE)
        runs = LateAnswers(pool)
        async with runner_beside(on, runs) as runner:
            sweep = asyncio.create_task(runner.sweep())
            await runs.committed.wait()
            sweep.cancel()
            await asyncio.wait({sweep})
            runs.answer.set()
            await until(lambda: runner.live)


async def test_a_lease_that_comes_when_the_replica_has_handed_its_runs_over_is_released(
    database: str, pool: Any
) -> None:
    async with quiet(database, pool, limits={"sweep_s": 3600.0}) as on:
        await on.core.runner.close()
        runs = store(pool)
        async with runner_beside(on, runs) as runner:
            lease = await a_running_run(pool)
            await runner.close()
            with pytest.raises(ShuttingDown):
                await runner.drive(lease)
            await retried(lambda: taken_at_once(pool), AssertionError)


async def taken_at_once(pool: Any) -> None:
    assert len(await taken_over(store(pool, "another"))) == 1


async def test_a_quiet_run_outlives_any_number_of_owners_that_had_it_for_a_while(
    database: str, pool: Any
) -> None:
    limits = {"advanced_s": 0.05, "max_takeovers": 2, "renew_s": 0.05}
    async with quiet(database, pool, files_frame(a="1"), limits=limits) as on:
        user, started = on.user, await on.start()
    for _ in range(5):
        # As if the owner had been killed: a release does not count.
        await pool.execute("UPDATE runs SET owner = 'killed'")
        async with quiet(database, pool, limits=limits) as on:
            await until(lambda on=on: on.core.runner.live)
            async with asyncio.timeout(60):
                while await pool.fetchval("SELECT takeovers FROM runs"):
                    await asyncio.sleep(0.01)
    async with quiet(database, pool, limits=limits) as on:
        await until(lambda: on.core.runner.live)
        await on.core.refinements.cancel(user, started.thread_id)
        on.user = user
        proposal, _ = await on.outcome(started)
    assert verdict(proposal) == ("cancelled", "cancelled", {"/a": "1"})


async def test_a_run_is_not_overdue_because_of_the_clock_of_the_replica_that_started_it(
    database: str, pool: Any
) -> None:
    asks = state_frame(files={}, __interrupt__="[Interrupt(value='ok?')]")
    async with quiet(database, pool, asks, END) as on:
        user, started = on.user, await on.start()
    await pool.execute("UPDATE proposals SET created_at = created_at - interval '9 hours'")
    async with quiet(database, pool) as on:
        await until(lambda: on.core.runner.live)
        await on.core.refinements.cancel(user, started.thread_id)
        on.user = user
        proposal, _ = await on.outcome(started)
    assert proposal.status.value == "cancelled"
