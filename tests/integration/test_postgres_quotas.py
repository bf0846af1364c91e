"""Quotas across replicas, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any
from uuid import UUID, uuid4

import pytest

from server.db.pool import open_pool
from server.db.proposals import PostgresProposalStore
from server.db.quotas import PostgresQuotaStore
from server.db.starts import check_active_runs
from server.domain.access.quotas import MIN_OPENINGS, QuotaLimits, Quotas
from server.domain.errors import LimitReached
from server.domain.model import Principal
from tests.support.postgres import Postgres
from tests.support.stored import a_start, a_user, a_workflow

CALLER = UUID("10000000-0000-4000-8000-000000000000")
ANN, BOB = Principal(CALLER, "ann"), Principal(uuid4(), "bob")


class Clock:
    """Time that stands still, and pauses that are noted."""

    def __init__(self) -> None:
        self.time = 0.0
        self.pauses: list[float] = []

    async def pause(self, seconds: float) -> None:
        """Note it."""
        self.pauses.append(seconds)


def replicas(pool: Any, clock: Clock | None = None, **limits: int) -> list[Quotas]:
    """Two replicas with quotas."""
    quota_limits, at = QuotaLimits(**limits), clock or Clock()
    return [
        Quotas(
            PostgresQuotaStore(pool, replica=name),
            quota_limits,
            now=lambda: at.time,
            pause=at.pause,
        )
        for name in ("one", "two")
    ]


async def sync_all(*quotas: Quotas) -> None:
    """Each replica reports that it is alive, and its open streams."""
    for each in quotas:
        await each.sync()


async def outcomes(calls: list[Any]) -> tuple[int, int]:
    """How many calls were admitted, and how many refused."""
    done = await asyncio.gather(*calls, return_exceptions=True)
    refused = [each for each in done if isinstance(each, LimitReached)]
    assert all(each is None for each in done if each not in refused)
    assert all(each.retry_after_s is not None and each.retry_after_s >= 1 for each in refused)
    return len(done) - len(refused), len(refused)


async def test_two_replicas_together_let_a_caller_make_no_more_than_one_would(pool: Any) -> None:
    one, two = replicas(pool, max_creates_per_minute=10)
    await sync_all(one, two)
    calls = [each.count_creation(CALLER) for _ in range(20) for each in (one, two)]
    assert await outcomes(calls) == (10, 30)
    assert await outcomes([two.count_creation(uuid4())]) == (1, 0)


class LateReports(PostgresQuotaStore):
    """Reports of streams wait until they may go on."""

    def __init__(self, pool: Any, *, replica: str) -> None:
        super().__init__(pool, replica=replica)
        self.reporting, self.may_go_on = asyncio.Event(), asyncio.Event()

    async def set_streams(self, counts: Mapping[UUID, int]) -> None:
        self.reporting.set()
        await self.may_go_on.wait()
        await super().set_streams(counts)


async def test_a_stream_that_opens_during_a_report_counts_after_the_next(pool: Any) -> None:
    store = LateReports(pool, replica="one")
    one = Quotas(store, QuotaLimits(max_streams=2))
    _, two = replicas(pool, max_streams=2)
    await two.sync()
    await one.open_stream(ANN)
    report = asyncio.create_task(one.sync())
    await store.reporting.wait()
    await one.open_stream(ANN)
    store.may_go_on.set()
    await report
    await one.sync()
    assert await outcomes([two.open_stream(ANN)]) == (0, 1)


async def test_a_minute_later_there_is_room_again(pool: Any) -> None:
    clock = Clock()
    one, _ = replicas(pool, clock, max_creates_per_minute=1)
    assert await outcomes([one.count_creation(CALLER)]) == (1, 0)
    with pytest.raises(LimitReached) as refused:
        await one.count_creation(CALLER)
    assert 55 <= (refused.value.retry_after_s or 0) <= 60
    await pool.execute("UPDATE quotas SET minute_began_at = minute_began_at - interval '61 seconds'")
    clock.time += 61
    assert await outcomes([one.count_creation(CALLER)]) == (1, 0)
    assert await outcomes([one.count_creation(CALLER)]) == (0, 1)


async def test_the_database_is_asked_no_more_until_a_caller_that_it_refused_may_try_again(pool: Any) -> None:
    clock = Clock()
    one, _ = replicas(pool, clock, max_creates_per_minute=1)
    assert await outcomes([one.count_creation(CALLER) for _ in range(2)]) == (1, 1)
    await pool.execute("DELETE FROM quotas")
    with pytest.raises(LimitReached) as refused:
        await one.count_creation(CALLER)
    clock.time += refused.value.retry_after_s or 0
    assert await outcomes([one.count_creation(CALLER)]) == (1, 0)


async def test_a_caller_does_not_use_up_the_creations_of_a_minute_at_once(pool: Any) -> None:
    clock = Clock()
    one, _ = replicas(pool, clock, max_creates_per_minute=120)
    limits = one.limits.creations
    for _ in range(int(limits.burst)):
        await one.count_creation(CALLER)
    assert clock.pauses == []
    for number in (1, 2, 3):
        await one.count_creation(CALLER)
        assert clock.pauses[-1] == pytest.approx(number / limits.per_s)
    await one.count_creation(uuid4())
    assert len(clock.pauses) == 3


async def test_the_streams_of_a_caller_do_not_open_all_at_once(pool: Any) -> None:
    clock = Clock()
    one, _ = replicas(pool, clock, max_streams=500)
    for _ in range(int(MIN_OPENINGS.burst)):
        await one.open_stream(ANN)
    assert clock.pauses == []
    await one.open_stream(ANN)
    await one.open_stream(BOB)
    assert clock.pauses == [pytest.approx(1 / MIN_OPENINGS.per_s)]


async def test_two_replicas_together_open_no_more_streams_than_one_would(pool: Any) -> None:
    one, two = replicas(pool, max_streams=10)
    await sync_all(one, two)
    assert await outcomes([each.open_stream(ANN) for _ in range(10) for each in (one, two)]) == (10, 10)
    assert await outcomes([one.open_stream(BOB)]) == (1, 0)
    # When one replica reports that a stream has closed, the other may open one.
    closed = 0
    for each in (one, two):
        while each._open[CALLER] and closed < 5:
            each.close_stream(ANN)
            closed += 1
    await sync_all(one, two)
    assert await outcomes([each.open_stream(ANN) for _ in range(5) for each in (one, two)]) == (5, 5)


async def test_what_a_dead_replica_had_open_counts_no_more(pool: Any) -> None:
    one, two = replicas(pool, max_streams=3)
    await sync_all(one, two)
    assert await outcomes([one.open_stream(ANN) for _ in range(3)]) == (3, 0)
    assert await outcomes([two.open_stream(ANN)]) == (0, 1)
    await pool.execute("UPDATE replicas SET seen_at = now() - interval '16 seconds' WHERE name = 'one'")
    assert await outcomes([two.open_stream(ANN) for _ in range(4)]) == (3, 1)
    assert await pool.fetchval("SELECT streams FROM quotas") == '{"two": 3}'


async def test_callers_who_are_gone_are_forgotten_with_the_streams_of_replicas_that_are(pool: Any) -> None:
    dead, living, own = (PostgresQuotaStore(pool, replica=name) for name in ("dead", "living", "own"))
    callers = {store: uuid4() for store in (dead, living, own)}
    for store, caller in callers.items():
        await store.heartbeat()
        assert await store.count_stream(caller, 5)
    await pool.execute("UPDATE quotas SET minute_began_at = now() - interval '2 hours'")
    await pool.execute("UPDATE replicas SET seen_at = now() - interval '2 hours' WHERE name = 'dead'")
    for _ in range(2):
        # The replica is forgotten first.
        await own.heartbeat()
    left = {row["caller_id"] for row in await pool.fetch("SELECT caller_id FROM quotas")}
    assert left == {callers[living], callers[own]}


async def test_after_a_crash_of_the_database_replicas_report_what_they_have(pool: Any) -> None:
    one, two = replicas(pool, max_streams=3)
    await sync_all(one, two)
    assert await outcomes([one.open_stream(ANN) for _ in range(2)]) == (2, 0)
    await pool.execute("TRUNCATE quotas, replicas")  # what a crash does to unlogged tables
    await sync_all(one, two)
    assert await outcomes([two.open_stream(ANN) for _ in range(3)]) == (1, 2)


async def test_a_stream_that_could_not_be_counted_is_not_counted(pool: Any) -> None:
    one, two = replicas(pool, max_streams=2)
    await sync_all(one, two)
    for _ in range(3):
        assert await outcomes([one.open_stream(ANN) for _ in range(2)]) == (2, 0)
        assert await outcomes([one.open_stream(ANN)]) == (0, 1)
        for _ in range(2):
            one.close_stream(ANN)
        await sync_all(one)
    assert await pool.fetchval("SELECT streams FROM quotas") == "{}"
    await pool.execute("UPDATE quotas SET minute_began_at = now() - interval '2 hours'")
    await sync_all(one)
    assert await pool.fetchval("SELECT count(*) FROM quotas") == 0


async def test_calls_that_wait_are_bounded(pool: Any) -> None:
    one, _ = replicas(pool, max_streams=2)
    with one.waiting_call(ANN), one.waiting_call(ANN):
        with pytest.raises(LimitReached), one.waiting_call(ANN):
            pass
        with one.waiting_call(BOB):
            pass
    with one.waiting_call(ANN):
        pass


async def test_the_share_links_of_a_user_leave_a_part_of_its_streams(pool: Any) -> None:
    one, two = replicas(pool, max_streams=10)
    await sync_all(one, two)
    links = [Principal(uuid4(), "", created_by=CALLER) for _ in range(3)]
    opened = [each.open_stream(link) for _ in range(5) for link in links for each in (one, two)]
    assert await outcomes(opened) == (8, 22)
    assert await outcomes([each.open_stream(ANN) for _ in range(2) for each in (one, two)]) == (2, 2)
    assert await outcomes([one.open_stream(BOB)]) == (1, 0)
    with ExitStack() as waiting:
        for _ in range(8):
            waiting.enter_context(one.waiting_call(links[0]))
        with pytest.raises(LimitReached), one.waiting_call(links[1]):
            pass
        for _ in range(2):
            waiting.enter_context(one.waiting_call(ANN))


@pytest.mark.parametrize(("limit", "of_links"), [(0, 0), (1, 1), (2, 1), (3, 2), (5, 4), (500, 400)])
def test_how_many_streams_are_left_to_the_user(limit: int, of_links: int) -> None:
    limits = QuotaLimits(max_streams=limit)
    assert limits.streams_of(ANN) == limit
    assert limits.streams_of(Principal(uuid4(), "", created_by=CALLER)) == of_links


async def test_without_a_limit_nothing_is_counted(pool: Any) -> None:
    one, _ = replicas(pool, max_creates_per_minute=0, max_streams=0)
    await one.count_creation(CALLER)
    await one.open_stream(ANN)
    one.close_stream(ANN)
    await one.sync()
    assert await pool.fetchval("SELECT count(*) FROM quotas") == 0


async def test_starts_at_once_never_leave_a_caller_with_too_many_live_runs(pool: Any) -> None:
    ann, bob = await a_user(pool), await a_user(pool, "bob")
    workflows = {user: await a_workflow(pool, user) for user in (ann, bob)}
    stores = [PostgresProposalStore(pool, owner=name, lease_ttl_s=15) for name in ("one", "two")]

    def start(number: int, user: Any) -> Any:
        return a_start(stores[number % 2], user, workflows[user], max_active_runs=5)

    done = await asyncio.gather(*(start(number, ann) for number in range(20)), return_exceptions=True)
    assert sum(isinstance(each, LimitReached) for each in done) == 15
    assert await pool.fetchval("SELECT count(*) FROM runs") == 5
    await start(0, bob)
    await pool.execute(
        "UPDATE proposals SET status = 'completed' "
        "WHERE id = (SELECT id FROM proposals WHERE created_by_user_id = $1 LIMIT 1)",
        ann.user_id,
    )
    await start(0, ann)
    with pytest.raises(LimitReached):
        await start(1, ann)


async def test_a_limit_holds_through_a_pooler_where_transactions_begin_with_another_isolation_level(
    database: str, postgres: Postgres
) -> None:
    await postgres.set_default_isolation(database, "repeatable read")
    async with open_pool(database, statement_cache_size=0) as pool, asyncio.timeout(60):
        ann = await a_user(pool)
        workflow = await a_workflow(pool, ann)
        stores = [PostgresProposalStore(pool, owner=name, lease_ttl_s=15) for name in ("one", "two")]
        async with pool.acquire() as blocker:
            lock = blocker.transaction()
            await lock.start()
            await check_active_runs(blocker, ann, 1)
            starts = [
                asyncio.create_task(a_start(store, ann, workflow, max_active_runs=1)) for store in stores
            ]
            while await pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") < len(starts):
                await asyncio.sleep(0.01)
            await lock.rollback()
        done = await asyncio.gather(*starts, return_exceptions=True)
        assert sum(isinstance(each, LimitReached) for each in done) == 1, done
