"""Proposals and their refinements in PostgreSQL.

Every query for a caller reads the view `proposal_callers` (`server.db.access`), so that a proposal that the
caller may not see and one that does not exist have the same result: none.

SQL (ADR 0003): what is read of a proposal is in `server.db.proposal_rows`.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from typing_extensions import override

from server.db.batched_reads import BatchedReads
from server.db.busy_drafts import WAITS_FOR, find_others, lock_draft
from server.db.contents import FILES_COPIES, SIZE_OF_FILES, SIZE_OF_LISTING, list_files, read_files
from server.db.errors import database_errors
from server.db.idempotency import find_earlier_start
from server.db.lock_queues import LockQueues
from server.db.page_tokens import page_of, page_place
from server.db.proposal_rows import (
    SELECTED,
    VISIBLE,
    failure_of,
    find_proposal,
    proposal_of,
    read_rejected,
)
from server.db.revisions import add_revision
from server.db.runs import request_cancels
from server.db.searches import Searches
from server.db.starts import check_active_runs, insert_start
from server.domain.crash_points import crash_point
from server.domain.drafts.busy import WhenBusy
from server.domain.errors import NotFound
from server.domain.fair_budget import Reservation
from server.domain.model import (
    IdempotencyKey,
    Page,
    Principal,
    Proposal,
    ProposalStatus,
    Refinement,
    Revision,
    StartRefinement,
)
from server.domain.proposals.store import (
    ALL,
    SEARCHED_CHARS,
    EarlierStart,
    ProposalFilter,
    ProposalStore,
    StoredStart,
)
from server.domain.runs.lease import Lease
from server.domain.runs.runtime import Invocation
from server.domain.runs.status import RunStatus

#: The byte of this list in page tokens.
_LIST = b"p"

#: Maximum bytes of a page, and those of an item's ids and times: clients accept 4 MiB by default.
MAX_PAGE_BYTES, ROW_BYTES = 3 << 20, 512

#: How many times its bytes a page takes: as rows, as records and as an answer. Most pages are small, and need
#: no reservation.
_PAGE_COPIES, _SMALL_PAGE_BYTES = 3, 128 << 10

#: Stands for no resolution.
_UNRESOLVED = "none"

#: The position before the newest proposal.
_NEWEST = (datetime.max.replace(tzinfo=UTC), UUID(int=(1 << 128) - 1))

#: In SQL for its plans. `size` is the sum of the sizes up to a row; rows after the first that is beyond $5
#: are not sent, except the second, which shows that there is another page.
_ANY_PAGE = f"""
SELECT * FROM (
  SELECT *, sum(bytes) OVER newest AS size, row_number() OVER newest AS number FROM (
    SELECT {SELECTED},
      octet_length(p.user_prompt) + coalesce(octet_length(p.context_file_path), 0)
        + coalesce(octet_length(p.resolution_comment), 0)
        + coalesce(octet_length(p.failure_message), 0) + {ROW_BYTES} AS bytes
    {{visible}}
    WHERE (p.created_at, p.id) < ($2::timestamptz, $3::uuid)
      AND {{workflow}} AND ($7::text IS NULL OR p.status = $7)
      AND ($8::text IS NULL OR coalesce(p.resolution, '{_UNRESOLVED}') = $8)
      AND ($9::text IS NULL OR strpos(lower(left(p.user_prompt, {SEARCHED_CHARS})), lower($9)) > 0
        OR strpos(lower(p.context_file_path), lower($9)) > 0)
    ORDER BY p.created_at DESC, p.id DESC LIMIT $4
  ) AS page WINDOW newest AS (ORDER BY created_at DESC, id DESC)
) AS sized
WHERE size - bytes < $5 OR number <= 2 ORDER BY number
"""  # noqa: S608 - only constants
#: Of a search, which may read all that the caller may see, and of a share link, which may see one.
_SEARCH = _ANY_PAGE.format(visible=VISIBLE, workflow="$6::uuid IS NULL")
#: Of a user. It takes the page out of an index before it reads a proposal, however many there are (ADR 0077).
_PAGE = _ANY_PAGE.format(
    visible="""
FROM (
  SELECT proposal_id FROM proposal_access
  WHERE user_id = $1 AND (proposal_created_at, proposal_id) < ($2, $3)
  ORDER BY proposal_created_at DESC, proposal_id DESC LIMIT $4
) AS newest_of_user JOIN proposals p ON p.id = newest_of_user.proposal_id JOIN drafts d ON d.id = p.draft_id
CROSS JOIN LATERAL (
  SELECT FROM proposal_callers a WHERE a.proposal_id = p.id AND a.caller_id = $1 LIMIT 1
) AS permitted
""",
    workflow="$6::uuid IS NULL",
)
#: It begins with the drafts of the workflow, however many proposals the caller may see.
_PAGE_OF_WORKFLOW = _ANY_PAGE.format(
    visible="""
FROM drafts d JOIN proposals p ON p.draft_id = d.id CROSS JOIN LATERAL (
  SELECT FROM proposal_callers a WHERE a.proposal_id = p.id AND a.caller_id = $1 LIMIT 1
) AS permitted
""",
    workflow="d.workflow_id = $6::uuid",
)

#: The refinements $2 of the callers $1, pair by pair. With a limit the view is asked for each pair; a join
#: would read it whole. As subqueries the arrays do not show their lengths: otherwise PostgreSQL would plan it
#: each time, which takes longer than to run it.
_REFINEMENTS = f"""
SELECT w.number, r.thread_id, r.epoch, r.last_seq, r.floor, p.id AS proposal_id, d.workflow_id,
  p.status, p.created_at, p.completed_at, p.failure_reason, p.failure_message,
  {WAITS_FOR} AS waits_for_proposal_id, r.invocation ->> 'traceparent' AS traceparent
FROM unnest((SELECT $1::uuid[]), (SELECT $2::uuid[])) WITH ORDINALITY AS w (caller_id, thread_id, number)
JOIN runs r ON r.thread_id = w.thread_id
JOIN proposals p ON p.id = r.proposal_id JOIN drafts d ON d.id = p.draft_id
CROSS JOIN LATERAL (
  SELECT FROM proposal_callers a WHERE a.proposal_id = p.id AND a.caller_id = w.caller_id LIMIT 1
) AS permitted
"""  # noqa: S608 - only constants


class PostgresProposalStore(ProposalStore):
    """The proposals. `owner`, this replica, holds the lease of the runs that it starts for `lease_ttl_s`."""

    def __init__(self, pool: asyncpg.Pool, *, owner: str, lease_ttl_s: float) -> None:
        self._pool = pool
        self._owner = owner
        self._ttl = timedelta(seconds=lease_ttl_s)
        self._refinements = BatchedReads(pool, _REFINEMENTS)
        self._searches = Searches()
        #: Starts that lock their caller, and those that lock their draft.
        self._locks = LockQueues()

    @override
    async def start(
        self,
        principal: Principal,
        command: StartRefinement,
        *,
        proposal_id: UUID,
        invocation: Invocation,
        draft_id: UUID,
        first_event: bytes,
        now: datetime,
        base_version: int | None = None,
        key: IdempotencyKey | None = None,
        max_active_runs: int = 0,
        revision: Revision | None = None,
        when_busy: WhenBusy = WhenBusy.PARALLEL,
    ) -> StoredStart | EarlierStart:
        queued, others = False, list[UUID]()
        with database_errors():
            async with AsyncExitStack() as stack:
                if max_active_runs:
                    await stack.enter_async_context(self._locks.turn(principal.user_id))
                if when_busy is not WhenBusy.PARALLEL:
                    await stack.enter_async_context(self._locks.turn(draft_id))
                connection = await stack.enter_async_context(self._pool.acquire())
                await stack.enter_async_context(connection.transaction())
                if max_active_runs:
                    await check_active_runs(connection, principal, max_active_runs)
                if when_busy is not WhenBusy.PARALLEL:
                    await lock_draft(connection, draft_id)
                    earlier = await find_earlier_start(connection, principal, key) if key else None
                    if earlier is not None and not earlier.key_reusable:
                        return earlier
                    others = await find_others(connection, principal, draft_id, when_busy)
                    queued = bool(others) and when_busy is WhenBusy.ENQUEUE
                stored = await insert_start(
                    connection,
                    principal,
                    command,
                    proposal_id=proposal_id,
                    invocation=invocation,
                    draft_id=draft_id,
                    first_event=first_event,
                    now=now,
                    base_version=base_version,
                    key=key,
                    owner=self._owner,
                    lease_ttl=self._ttl,
                    queued=queued,
                )
                if stored and revision is not None:
                    await add_revision(connection, principal, proposal_id, revision, now=now)
                if stored and others and not queued:
                    crash_point("in_supersede")
                    await request_cancels(connection, others)
        if not stored:
            earlier = await self.find_earlier_start(principal, key) if key else None
            if earlier is None:
                raise NotFound("no such workflow")
            return earlier
        if queued:
            return StoredStart(None)
        lease = Lease(
            thread_id=invocation.job_id,
            fence=1,
            status=RunStatus.PENDING,
            attempt=0,
            last_seq=1,
            epoch=1,
            invocation=invocation,
            age_s=0.0,
            proposal_id=proposal_id,
            workflow_id=command.workflow_id,
        )
        return StoredStart(lease, superseded=others)

    @override
    async def find_earlier_start(self, principal: Principal, key: IdempotencyKey) -> EarlierStart | None:
        return await find_earlier_start(self._pool, principal, key)

    @override
    async def refinement(self, principal: Principal, thread_id: UUID) -> Refinement | None:
        row = await self._refinements.row(principal.user_id, thread_id)
        if row is None:
            return None
        return Refinement(
            thread_id=row["thread_id"],
            proposal_id=row["proposal_id"],
            workflow_id=row["workflow_id"],
            status=ProposalStatus(row["status"]),
            epoch=row["epoch"],
            last_seq=row["last_seq"],
            floor=row["floor"],
            created_at=row["created_at"],
            completed_at=row["completed_at"],
            failure=failure_of(row),
            waits_for_proposal_id=None if principal.is_share_link else row["waits_for_proposal_id"],
            traceparent=row["traceparent"] or "",
        )

    @override
    async def get(
        self,
        principal: Principal,
        proposal_id: UUID,
        reservation: Reservation | None = None,
        *,
        files: bool = True,
        contents: bool = True,
    ) -> Proposal:
        size: int | None = None
        if files and reservation is not None:
            statement = SIZE_OF_FILES if contents else SIZE_OF_LISTING
            with database_errors():
                size = await self._pool.fetchval(statement, principal.user_id, proposal_id) or 0
            await reservation.resize(size * FILES_COPIES)
        with database_errors():
            proposal, rejects = await find_proposal(self._pool, principal, proposal_id)
            if files and rejects:
                rejected = await read_rejected(self._pool, proposal_id)
                proposal = replace(proposal, rejected_files=rejected)
        if not files or not proposal.file_count:
            return proposal
        read = read_files if contents else list_files
        found = await read(self._pool, proposal_id, size)
        return replace(
            proposal, files=found.by_path, listed_files=found.listed, portability=found.portability
        )

    @override
    async def list(
        self,
        principal: Principal,
        *,
        limit: int,
        token: str | None = None,
        only: ProposalFilter = ALL,
        reservation: Reservation | None = None,
    ) -> Page:
        before, before_id = page_place(_LIST, token) if token is not None else _NEWEST
        place = (principal.user_id, before, before_id, limit + 1)
        filters = (only.workflow_id, only.status and only.status.value, _resolution(only), only.text)
        with database_errors():
            rows = await self._page(principal, only, *place, _SMALL_PAGE_BYTES, *filters)
        if any(row["size"] > _SMALL_PAGE_BYTES for row in rows):
            if reservation is not None:
                await reservation.resize(MAX_PAGE_BYTES * _PAGE_COPIES)
            with database_errors():
                rows = await self._page(principal, only, *place, MAX_PAGE_BYTES, *filters)
        fitting = max(sum(row["size"] <= MAX_PAGE_BYTES for row in rows), 1)
        return page_of([proposal_of(principal, row) for row in rows], kind=_LIST, limit=min(limit, fitting))

    async def _page(self, principal: Principal, only: ProposalFilter, *values: Any) -> Any:
        """The rows of a page. Raises LimitReached."""
        # Those by workflow read its proposals alone.
        is_search = replace(only, workflow_id=None) != ALL
        if only.workflow_id is not None:
            statement = _PAGE_OF_WORKFLOW
        else:
            statement = _SEARCH if is_search or principal.is_share_link else _PAGE
        async with self._searches.place() if is_search else nullcontext():
            return await self._pool.fetch(statement, *values)


def _resolution(only: ProposalFilter) -> str | None:
    """What the filter asks for, in the words of the page's statement."""
    if only.unresolved:
        return _UNRESOLVED
    return only.resolution and only.resolution.value
