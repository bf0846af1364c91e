"""The outbox: an event is stored with the fact or not at all, and each delivery is claimed by one replica."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import pytest

from server.clock import SystemClock
from server.db.journal import PostgresJournal
from server.db.outbox import add_to_outbox
from server.db.webhook_deliveries import PostgresDeliveryStore
from server.db.webhooks import PostgresWebhookStore
from server.domain.errors import Conflict, LeaseLost
from server.domain.model import Principal
from server.domain.runs.lease import Lease
from server.domain.webhooks.events import EventType, input_requested, proposal_resolved
from server.domain.webhooks.store import AttemptFailed, Claim
from server.domain.webhooks.webhook import CreateWebhook
from server.encoding.event_batch import delimited_event
from tests.support.hand_clock import retried
from tests.support.stored import NOON, a_run, a_running_run, a_user, a_workflow

FAILED = AttemptFailed("status", 500, pause_s=0.0, rest_s=0.0)


async def a_webhook(pool: Any, owner: UUID, *types: EventType) -> UUID:
    """A webhook of a user's that nobody calls; its id."""
    command = CreateWebhook("https://receiver.example/", types or tuple(EventType))
    written = await PostgresWebhookStore(pool).create(
        Principal(owner, "subject"), command, webhook_id=uuid4(), secret=b"s" * 32, now=NOON
    )
    return written.webhook.id


async def owner_of(pool: Any, lease: Lease) -> UUID:
    """The user that started the run."""
    owner: UUID = await pool.fetchval(
        "SELECT created_by_user_id FROM proposals WHERE id = $1", lease.proposal_id
    )
    return owner


async def stored(pool: Any) -> list[tuple[UUID, UUID]]:
    """The webhook and the event of each row."""
    rows = await pool.fetch("SELECT webhook_id, event_id FROM webhook_deliveries ORDER BY 1, 2")
    return [(row["webhook_id"], row["event_id"]) for row in rows]


async def claim(store: PostgresDeliveryStore, *, failing: bool = False, **options: Any) -> list[Claim]:
    """What a replica claims."""
    limits: dict[str, Any] = {"limit": 64, "busy": {}, "max_per_webhook": 4, "max_per_owner": 64}
    limits |= {"lease_s": 60.0} | options
    return [*await store.claim(failing=failing, **limits)]


# --- With the fact or not at all -----------------------------------------------------------------


async def test_an_event_is_stored_with_its_transaction_and_once_however_often(pool: Any) -> None:
    lease = await a_running_run(pool)
    webhook = await a_webhook(pool, await owner_of(pool, lease))
    event = proposal_resolved(lease.proposal_id, resolution="accepted", draft_version=3)
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await add_to_outbox(connection, event)
        await transaction.rollback()
        assert await stored(pool) == []
        for _ in range(2):
            async with connection.transaction():
                await add_to_outbox(connection, event)
    assert await stored(pool) == [(webhook, event.id)]
    [claimed] = await claim(PostgresDeliveryStore(pool))
    assert (claimed.event_type, claimed.proposal_id) == (EventType.PROPOSAL_RESOLVED, lease.proposal_id)
    assert claimed.data == {"resolution": "accepted", "draft_version": 3}


async def test_an_event_is_stored_for_the_webhooks_that_tell_it(pool: Any) -> None:
    lease = await a_running_run(pool)
    owner = await owner_of(pool, lease)
    telling = await a_webhook(pool, owner, EventType.INPUT_REQUESTED, EventType.RUN_FINISHED)
    await a_webhook(pool, owner, EventType.RUN_FINISHED)
    await a_webhook(pool, (await a_user(pool, "eve")).user_id)
    disabled = await a_webhook(pool, owner)
    await pool.execute("UPDATE webhooks SET disabled_reason = 'owner' WHERE id = $1", disabled)
    event = input_requested(lease.proposal_id, seq=7)
    await add_to_outbox(pool, event)
    assert await stored(pool) == [(telling, event.id)]


async def test_what_is_told_of_an_event_is_committed_with_it_and_not_under_a_lost_lease(pool: Any) -> None:
    journal = PostgresJournal(pool, SystemClock(), lease_ttl_s=15)
    async with journal.writing():
        leases = [await a_running_run(pool) for _ in range(2)]
        webhooks = [await a_webhook(pool, await owner_of(pool, lease)) for lease in leases]
        logs = [journal.open(lease) for lease in leases]
        await pool.execute("UPDATE runs SET fence = fence + 1 WHERE thread_id = $1", leases[1].thread_id)
        events = [input_requested(lease.proposal_id, seq=2) for lease in leases]
        for log, event in zip(logs, events, strict=True):
            log.put(delimited_event(b"asks"), b"", epoch=1, outbox=event)
            log.put(delimited_event(b"token"), b"", epoch=1)
        await logs[0].flush()
        with pytest.raises(LeaseLost):
            await logs[1].flush()
    assert await stored(pool) == [(webhooks[0], events[0].id)]


async def test_what_a_database_lost_is_told_again_under_the_same_id(pool: Any) -> None:
    journal = PostgresJournal(pool, SystemClock(), lease_ttl_s=15)
    async with journal.writing():
        lease = await a_running_run(pool)
        webhook = await a_webhook(pool, await owner_of(pool, lease))
        log = journal.open(lease)
        event = input_requested(lease.proposal_id, seq=3)
        for number in range(4):
            log.put(delimited_event(b"%d" % number), b"", epoch=1, outbox=event if number == 1 else None)
            await log.flush()
        # As after a failover to a standby that had the first event alone.
        await pool.execute("DELETE FROM webhook_deliveries")
        await pool.execute("DELETE FROM events WHERE thread_id = $1 AND last_seq > 1", lease.thread_id)
        await pool.execute("UPDATE runs SET last_seq = 1 WHERE thread_id = $1", lease.thread_id)
        for _ in range(2):
            await journal.restore_lost_commits()
    assert await stored(pool) == [(webhook, event.id)]


async def test_a_webhook_that_is_deleted_at_that_moment_fails_no_transaction(pool: Any) -> None:
    lease = await a_running_run(pool)
    webhook = await a_webhook(pool, await owner_of(pool, lease))
    async with pool.acquire() as one, pool.acquire() as other:
        deleting, telling = one.transaction(), other.transaction()
        await deleting.start()
        await telling.start()
        await one.execute("DELETE FROM webhooks WHERE id = $1", webhook)
        # Nobody waits for the other.
        await add_to_outbox(other, input_requested(lease.proposal_id, seq=2))
        await deleting.commit()
        await telling.commit()
    store = PostgresDeliveryStore(pool)
    assert [await claim(store), await claim(store, failing=True)] == [[], []]


# --- Who makes which call ------------------------------------------------------------------------


async def waiting(pool: Any, counts: list[int]) -> list[UUID]:
    """Webhooks with so many deliveries that are due; their ids."""
    user = await a_user(pool)
    lease = await a_run(pool, user, await a_workflow(pool, user))
    webhooks = []
    for count in counts:
        webhooks.append(await a_webhook(pool, user.user_id, EventType.INPUT_REQUESTED))
        await pool.executemany(
            "INSERT INTO webhook_deliveries (webhook_id, event_id, event_type, proposal_id, data) "
            "VALUES ($1, $2, 'input.requested', $3, '{}')",
            [(webhooks[-1], uuid4(), lease.proposal_id) for _ in range(count)],
        )
    return webhooks


async def test_replicas_that_look_at_once_get_each_delivery_once(pool: Any) -> None:
    await waiting(pool, [20] * 10)
    store = PostgresDeliveryStore(pool)
    claimed: list[tuple[UUID, UUID]] = []
    async with asyncio.timeout(60):
        while len(claimed) < 200:
            for found in await asyncio.gather(*(claim(store, limit=16) for _ in range(4))):
                claimed += [(each.webhook_id, each.event_id) for each in found]
    assert len(set(claimed)) == len(claimed) == 200
    assert await claim(store) == []


async def test_a_webhook_with_much_to_tell_takes_no_more_than_its_share(pool: Any) -> None:
    busy, other = await waiting(pool, [1000, 1])
    claimed = [each.webhook_id for each in await claim(PostgresDeliveryStore(pool), limit=8)]
    assert sorted(claimed) == sorted([busy] * 4 + [other])
    assert [each.webhook_id for each in await claim(PostgresDeliveryStore(pool), busy={busy: 3})] == [busy]
    assert await claim(PostgresDeliveryStore(pool), busy={busy: 4}) == []


async def test_an_owner_with_many_slow_webhooks_takes_no_more_than_a_share(pool: Any) -> None:
    slow = set(await waiting(pool, [10] * 20))
    [other] = await waiting(pool, [3])
    store = PostgresDeliveryStore(pool)
    claimed = [each.webhook_id for each in await claim(store, limit=8, max_per_owner=16)]
    # Owners take turns, even when there are more places for each than there are.
    assert claimed.count(other) == 3
    more = [each.webhook_id for each in await claim(store, busy=Counter(claimed), max_per_owner=16)]
    assert len(more) == 16 - 5
    assert set(more) <= slow
    assert await claim(store, busy=Counter(claimed + more), max_per_owner=16) == []
    for each in await claim(store):
        await store.mark_failed(each, FAILED)
    assert len(await claim(store, failing=True, limit=16, max_per_owner=4)) == 4


async def test_a_failing_webhook_is_called_by_one_attempt_at_a_time(pool: Any) -> None:
    [webhook] = await waiting(pool, [5])
    store = PostgresDeliveryStore(pool)
    [first, *others] = await claim(store)
    await store.mark_failed(first, FAILED)
    assert await claim(store) == []
    found = await asyncio.gather(*(claim(store, failing=True) for _ in range(4)))
    [[probe]] = [each for each in found if each]
    assert (probe.webhook_id, probe.failures) == (webhook, 1)
    # Those that were being made when it failed are recorded, too.
    for other in others:
        await store.mark_delivered(other, 200)
    await store.mark_failed(probe, FAILED)
    assert len(await claim(store, failing=True)) == 1


async def test_a_claim_that_ended_is_made_by_another_and_its_late_failure_counts_for_nothing(
    pool: Any,
) -> None:
    await waiting(pool, [1])
    store = PostgresDeliveryStore(pool)
    [late] = await claim(store, lease_s=0.0)
    [next_one] = await claim(store)
    assert (late.event_id, late.attempt, next_one.attempt) == (next_one.event_id, 1, 2)
    assert not await store.mark_failed(late, FAILED)
    assert await pool.fetchval("SELECT failures FROM webhooks") == 0
    # A late success is one.
    await store.mark_delivered(late, 200)
    assert not await store.mark_failed(next_one, FAILED)
    row = await pool.fetchrow("SELECT delivered_at IS NOT NULL, next_attempt_at FROM webhook_deliveries")
    assert tuple(row) == (True, None)


async def test_a_redelivery_that_commits_while_an_attempt_is_recorded_is_not_lost(pool: Any) -> None:
    [webhook] = await waiting(pool, [1])
    store = PostgresDeliveryStore(pool)
    [sent] = await claim(store)

    async def blocked() -> None:
        waiting_for = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        assert await pool.fetchval(f"{waiting_for} AND datname = current_database()") == 1

    async with pool.acquire() as connection:
        async with connection.transaction():
            await connection.execute("SELECT FROM webhook_deliveries FOR UPDATE")
            recording = asyncio.create_task(store.mark_delivered(sent, 200))
            await retried(blocked, AssertionError)
            # As a redelivery does that begins now.
            await connection.execute(
                "UPDATE webhook_deliveries SET next_attempt_at = t, retried_from = t, delivered_at = NULL "
                "FROM clock_timestamp() AS t"
            )
        await recording
    [again] = await claim(store)
    assert (again.webhook_id, again.event_id, again.attempt) == (webhook, sent.event_id, 2)


async def test_what_a_stopping_replica_was_sending_is_due_for_others(pool: Any) -> None:
    await waiting(pool, [2])
    store = PostgresDeliveryStore(pool)
    claimed = await claim(store)
    await store.mark_delivered(claimed[0], 200)
    await store.release(claimed)
    assert [each.event_id for each in await claim(store)] == [claimed[1].event_id]


async def test_an_owner_has_so_many_webhooks_however_many_are_made_at_once(pool: Any) -> None:
    user = await a_user(pool)
    store = PostgresWebhookStore(pool, max_webhooks=3)
    command = CreateWebhook("https://receiver.example/", tuple(EventType))
    made = await asyncio.gather(
        *(store.create(user, command, webhook_id=uuid4(), secret=b"s" * 32, now=NOON) for _ in range(6)),
        return_exceptions=True,
    )
    assert sum(isinstance(each, Conflict) for each in made) == 3
    assert await pool.fetchval("SELECT count(*) FROM webhooks") == 3


def test_a_facts_id_is_the_same_in_every_process() -> None:
    proposal_id = UUID("c0ffee00-0000-4000-8000-000000000000")
    ids = [input_requested(proposal_id, seq=seq).id for seq in (1, 2, 1)]
    assert ids[0] == ids[2] != ids[1]
    assert ids[0] == UUID("743d0088-18e5-536f-baa9-a76efcf69115")
