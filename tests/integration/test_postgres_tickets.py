"""Tickets in PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from server.db.proposals import PostgresProposalStore
from server.db.quotas import PostgresQuotaStore
from server.db.tickets import PostgresTicketStore
from server.domain.access.quotas import QuotaLimits, Quotas
from server.domain.access.tickets import Tickets
from server.domain.errors import Unauthenticated
from server.domain.model import Principal
from tests.support.stored import a_run, a_user, a_workflow


async def an_issuer(pool: Any) -> tuple[Tickets, Principal, Any]:
    """What issues tickets, a user, and a thread that the user may follow."""
    user = await a_user(pool)
    lease = await a_run(pool, user, await a_workflow(pool, user))
    proposals = PostgresProposalStore(pool, owner="r", lease_ttl_s=15)
    quotas = Quotas(PostgresQuotaStore(pool, replica="r"), QuotaLimits())
    return Tickets(store=PostgresTicketStore(pool), proposals=proposals, quotas=quotas), user, lease.thread_id


async def test_a_ticket_opens_events_once_and_resumes_them(pool: Any) -> None:
    tickets, user, thread = await an_issuer(pool)
    ticket = (await tickets.issue(user, thread)).ticket
    for resumed in (False, True, True):
        assert (await tickets.redeem_for_events(ticket, thread, resumed=resumed)).user_id == user.user_id
    with pytest.raises(Unauthenticated):
        await tickets.redeem_for_events(ticket, thread, resumed=False)


async def test_a_ticket_is_used_up_together_with_what_resumes_it_or_not_at_all(pool: Any) -> None:
    tickets, user, thread = await an_issuer(pool)
    ticket = (await tickets.issue(user, thread)).ticket
    soon = datetime.now(UTC) + timedelta(minutes=5)
    # As if the database had gone away between the two.
    await pool.execute(f"ALTER TABLE tickets ADD CONSTRAINT short CHECK (expires_at < '{soon}')")
    with pytest.raises(asyncpg.CheckViolationError):
        await tickets.redeem_for_events(ticket, thread, resumed=False)
    await pool.execute("ALTER TABLE tickets DROP CONSTRAINT short")
    assert (await tickets.redeem_for_events(ticket, thread, resumed=False)).user_id == user.user_id


async def test_a_ticket_for_another_thread_is_used_up_and_resumes_nothing(pool: Any) -> None:
    tickets, user, thread = await an_issuer(pool)
    ticket = (await tickets.issue(user, thread)).ticket
    other = (await a_run(pool, user, await a_workflow(pool, user))).thread_id
    for wanted in (other, thread):
        with pytest.raises(Unauthenticated):
            await tickets.redeem_for_events(ticket, wanted, resumed=True)
    assert await pool.fetchval("SELECT count(*) FROM tickets") == 0
