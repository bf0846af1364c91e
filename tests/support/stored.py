"""Rows for tests of the stores: users, workflows, started runs."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from server.db.compaction import COMPACTED_BYTES
from server.db.proposals import PostgresProposalStore
from server.db.runs import PostgresRunStore
from server.db.users import PostgresUserStore
from server.db.workflows import PostgresWorkflowStore
from server.domain.access.users import TokenClaims
from server.domain.model import CreateWorkflow, Principal, StartRefinement, Workflow
from server.domain.proposals.store import EarlierStart, StoredStart
from server.domain.runs.lease import Lease
from server.domain.runs.runtime import Invocation
from server.domain.runs.status import RunStatus
from tests.support.hand_clock import PATIENCE_S

#: When the first of everything happens.
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def a_user(pool: Any, name: str = "ann") -> Principal:
    """A principal that has called."""
    claims = some_claims(f"{name}-{uuid4()}", f"{name}@example.com")
    return await PostgresUserStore(pool).ensure_user(claims, NOON)


def some_claims(subject: str, email: str | None = None) -> TokenClaims:
    """What a token of the tests' issuer says."""
    return TokenClaims(subject, "https://login.example.com", email)


async def a_workflow(pool: Any, principal: Principal, *, minute: int = 0, **fields: Any) -> Workflow:
    """A workflow of the principal's, made `minute` minutes after noon."""
    command = CreateWorkflow(**{"name": "demo", "agent_definition": {"version": 1}, "files": {}} | fields)
    return await PostgresWorkflowStore(pool).create(
        principal,
        command,
        workflow_id=uuid4(),
        draft_id=uuid4(),
        now=NOON + timedelta(minutes=minute),
    )


def an_invocation(thread_id: UUID | None = None) -> Invocation:
    """A job for the runtime."""
    return Invocation(uuid4(), thread_id or uuid4(), {"version": 1}, {"messages": [{"role": "user"}]})


async def a_start(
    store: PostgresProposalStore,
    principal: Principal,
    workflow: Workflow,
    *,
    prompt: str = "do it",
    **options: Any,
) -> StoredStart | EarlierStart:
    """What becomes of a start of a new run. options: of `ProposalStore.start`."""
    usual: dict[str, Any] = {
        "proposal_id": uuid4(),
        "invocation": an_invocation(),
        "draft_id": workflow.current_draft_id,
        "first_event": b"first",
        "now": NOON,
    }
    return await store.start(principal, StartRefinement(workflow.id, prompt), **usual | options)


async def a_run(
    pool: Any,
    principal: Principal,
    workflow: Workflow,
    *,
    minute: int = 0,
    owner: str = "replica-1",
    lease_ttl_s: float = 15.0,
    first_event: bytes = b"first",
    prompt: str = "do it",
) -> Lease:
    """A started run with event 1, and the lease on it."""
    stored = await a_start(
        PostgresProposalStore(pool, owner=owner, lease_ttl_s=lease_ttl_s),
        principal,
        workflow,
        prompt=prompt,
        first_event=first_event,
        now=NOON + timedelta(minutes=minute),
    )
    assert isinstance(stored, StoredStart)
    assert stored.lease is not None
    return stored.lease


async def a_running_run(pool: Any, *, owner: str = "replica-1") -> Lease:
    """A run of a new user's that the runtime has, and the lease on it."""
    user = await a_user(pool)
    lease = await a_run(pool, user, await a_workflow(pool, user), owner=owner)
    runs = PostgresRunStore(pool, owner=owner, lease_ttl_s=15)
    await runs.set_status(lease, RunStatus.INVOKING, attempt=1)
    await runs.set_status(lease, RunStatus.RUNNING, attempt=1)
    return lease


#: Makes the events of a journal, $1, unreadable.
SPOIL_EVENTS = "UPDATE events SET batch = 'hunter2' WHERE thread_id = $1"
#: Removes the events of a journal, $1.
DELETE_EVENTS = "DELETE FROM events WHERE thread_id = $1"


async def taken_over(
    runs: PostgresRunStore, limit: int = 10, *, driven: Collection[UUID] = ()
) -> list[Lease]:
    """The runs that a sweep takes over."""
    found_at = await runs.find_expired(driven)
    return [] if found_at is None else [*await runs.claim_expired(limit, found_at=found_at, driven=driven)]


async def rows_of(pool: Any, thread_id: UUID) -> int:
    """The rows of a journal."""
    return int(await pool.fetchval("SELECT count(*) FROM events WHERE thread_id = $1", thread_id))


async def change_rows(pool: Any, statement: str, thread_id: UUID) -> None:
    """Change the rows of a finished run's journal, $1, as only a person or a failing disk does.

    While a journal is compacted, its old rows are locked and its new ones are not visible yet: a statement
    that waits for the old ones changes nothing. The lock on the table waits for the new ones.
    """
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE")
        await connection.execute(statement, thread_id)


async def compacted(pool: Any, thread_id: UUID) -> None:
    """Wait until a journal has as few rows as it can."""
    sizes = "SELECT sum(length(batch) + length(residues)) FROM events WHERE thread_id = $1"
    fewest = int(await pool.fetchval(sizes, thread_id)) // COMPACTED_BYTES + 1
    async with asyncio.timeout(PATIENCE_S):
        while await rows_of(pool, thread_id) > fewest:
            await asyncio.sleep(0)
