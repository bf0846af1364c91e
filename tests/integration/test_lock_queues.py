"""Who waits for a lock of PostgreSQL: only one of each process, so that the others have no connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from server.clock import SystemClock
from server.db.access import PostgresAccessStore
from server.db.drafts import PostgresDraftStore
from server.db.pool import open_pool
from server.db.reviews import PostgresReviewStore
from server.db.runs import PostgresRunStore
from server.db.workflows import PostgresWorkflowStore
from server.domain.access.on_behalf_of import on_behalf_of
from server.domain.access.sharing import AccessType
from server.domain.model import Principal, UpdateWorkflow, Workflow
from tests.support.hand_clock import retried
from tests.support.proposed import a_proposal, text_files
from tests.support.stored import a_run, a_user, a_workflow

_WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


class Calls:
    """Calls that lock something, by the stores of one process."""

    def __init__(
        self, pool: Any, user: Principal, workflow: Workflow, proposal_id: UUID, thread: UUID
    ) -> None:
        self.user, self.workflow, self.proposal_id, self.thread_id = user, workflow, proposal_id, thread
        self.drafts = PostgresDraftStore(pool)
        self.reviews = PostgresReviewStore(pool, self.drafts)
        self.workflows, self.access = PostgresWorkflowStore(pool), PostgresAccessStore(pool)
        self.runs = PostgresRunStore(pool, owner="r", lease_ttl_s=15)

    async def decide(self) -> None:
        async with self.reviews.reviewing(self.user, self.proposal_id):
            pass

    async def accept(self) -> None:
        async with self.reviews.reviewing(self.user, self.proposal_id, with_draft=True):
            pass

    async def write(self) -> None:
        async with self.drafts.editing(self.user, self.workflow.current_draft_id):
            pass

    async def lock(self) -> None:
        now = SystemClock().now()
        await self.workflows.update(self.user, self.workflow.id, UpdateWorkflow(locked=False), now=now)

    async def grant(self) -> None:
        await self.access.grant(self.user, self.proposal_id, uuid4(), AccessType.VIEWER)

    async def cancel(self) -> None:
        await self.runs.request_cancel(self.thread_id)


@pytest.mark.parametrize(
    ("name", "locked"),
    [
        ("decide", "proposals"),
        ("accept", "proposals"),
        ("write", "drafts"),
        ("lock", "workflows"),
        ("grant", "proposal_access"),
        ("cancel", "runs"),
    ],
)
async def test_many_who_wait_for_one_lock_leave_the_connections_to_others(
    database: str, name: str, locked: str
) -> None:
    async with open_pool(database, max_size=6) as pool:
        user = await a_user(pool)
        workflow = await a_workflow(pool, user)
        proposal_id = await a_proposal(pool, user, workflow, text_files(a="1"))
        lease = await a_run(pool, user, workflow)
        calls = Calls(pool, user, workflow, proposal_id, lease.thread_id)
        # What a transaction sees of the other connections does not change.
        holder, looking = await asyncpg.connect(database), await asyncpg.connect(database)
        try:
            async with holder.transaction():
                await holder.execute(f"SELECT FROM {locked} FOR UPDATE")
                waiting = [_on_behalf_of(caller, getattr(calls, name)) for caller in "abcd" for _ in range(5)]

                async def one_waits() -> None:
                    if not await looking.fetchval(_WAITING):
                        raise LookupError

                await retried(one_waits, LookupError)
                assert [await pool.fetchval("SELECT 1") for _ in range(20)] == [1] * 20
                assert await looking.fetchval(_WAITING) == 1
        finally:
            await holder.close()
            await looking.close()
        # On a busy machine, some are refused meanwhile.
        await asyncio.gather(*waiting, return_exceptions=True)


def _on_behalf_of(caller: str, call: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
    async def made() -> None:
        on_behalf_of.set(caller)
        await call()

    return asyncio.ensure_future(made())
