"""What is decided about proposals, in PostgreSQL, and the files that are compared and merged for that.

The views `proposal_callers` and `draft_callers` decide who may see what: what the caller may not see and what
does not exist have the same result. SQL, because each statement depends on the caller or takes locks (ADR
0003).

Locks are taken in one order: the draft, its workflow, the proposal.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from typing_extensions import override

from server.db.contents import FILES_COPIES, FILES_USE_S, SIZE_OF_FILES, read_contents, read_files
from server.db.draft_files import read_draft_files, with_contents
from server.db.drafts import FROZEN, PostgresDraftStore, open_edit, read_draft
from server.db.errors import database_errors
from server.db.file_json import escape_name, unescape_name
from server.db.idempotency import Written, find_written, store_key
from server.db.lock_queues import LockQueues
from server.db.outbox import add_to_outbox
from server.db.proposal_rows import find_proposal, read_proposal, read_rejected
from server.db.revisions import read_requests, read_workflow_of
from server.domain.drafts.draft import DraftFile
from server.domain.drafts.store import DraftEdit
from server.domain.errors import NotFound, PermissionDenied
from server.domain.fair_budget import Reservation
from server.domain.model import IdempotencyKey, Principal, Proposal, Resolution
from server.domain.review.decisions import Decision, FileDecision
from server.domain.review.store import ReviewEdit, ReviewFiles, ReviewStore, Rounds
from server.domain.webhooks.events import proposal_resolved

_MAY_DECIDE = """
SELECT p.draft_id, a.access_type <> 'viewer' AS may_decide
FROM proposals p JOIN proposal_callers a ON a.proposal_id = p.id AND a.caller_id = $2 WHERE p.id = $1
"""

#: Until the transaction ends, nobody locks or archives the workflow.
_LOCK_WORKFLOW = f"""
SELECT {FROZEN} FROM drafts d JOIN workflows w ON w.id = d.workflow_id WHERE d.id = $1 FOR SHARE OF w
"""  # noqa: S608 - only constants

_LOCK = "SELECT FROM proposals WHERE id = $1 FOR NO KEY UPDATE"

_DECISIONS = """
SELECT path, decision, new_path, encode(sha256, 'hex') AS sha256, hunks
FROM proposal_decisions WHERE proposal_id = $1
"""

_DELETE = "DELETE FROM proposal_decisions WHERE proposal_id = $1 AND path = ANY($2::text[])"

_ADD = """
INSERT INTO proposal_decisions (proposal_id, path, decision, new_path, sha256, hunks)
SELECT $1, path, decision, new_path, sha256, hunks::jsonb
FROM unnest($2::text[], $3::text[], $4::text[], $5::bytea[], $6::text[])
  AS d (path, decision, new_path, sha256, hunks)
"""

_COUNT = "UPDATE proposals SET review_number = review_number + 1, reviewed_at = $2 WHERE id = $1"

_RESOLVE = """
UPDATE proposals SET resolution = $2, resolution_comment = nullif($3, ''), result_version = $4,
  resolved_by_user_id = $5, resolved_at = $6
WHERE id = $1
"""


class PostgresReviewStore(ReviewStore):
    """The reviews of all proposals. `drafts`: for the drafts that they change."""

    def __init__(self, pool: asyncpg.Pool, drafts: PostgresDraftStore) -> None:
        self._pool, self._drafts = pool, drafts
        self._locks = LockQueues()

    @override
    async def read(
        self,
        principal: Principal,
        proposal_id: UUID,
        *,
        draft_contents: bool = False,
        reservation: Reservation | None = None,
        held_bytes: int = 0,
    ) -> ReviewFiles:
        with database_errors():
            async with self._pool.acquire(limit_s=FILES_USE_S) as connection:
                proposal, rejects = await find_proposal(connection, principal, proposal_id)
                draft = await read_draft(connection, principal, proposal.draft_id, None)
                decisions = await _read_decisions(connection, proposal_id)
                base = await read_draft_files(connection, draft.id, proposal.base_version)
                newest = await read_draft_files(connection, draft.id, draft.version)
                size = await connection.fetchval(SIZE_OF_FILES, principal.user_id, proposal_id) or 0
            if rejects:
                proposal = replace(proposal, rejected_files=await read_rejected(self._pool, proposal_id))
            rejected = _brought_in(proposal, decisions) if draft_contents else {}
            wanted = [*base.values(), *rejected.values(), *(newest.values() if draft_contents else ())]
            sizes = {file.sha256: file.size_bytes for file in wanted}
            if reservation is not None:
                # Not while a connection is held: others may need it to give back what they have reserved.
                await reservation.resize(held_bytes + FILES_COPIES * (size + sum(sizes.values())))
            contents = await read_contents(self._pool, list(sizes))
        if proposal.file_count:
            files = await read_files(self._pool, proposal_id, size)
            proposal = replace(proposal, files=files.by_path, portability=files.portability)
        return ReviewFiles(
            proposal,
            with_contents(base, contents),
            replace(draft, files=with_contents(newest, contents) if draft_contents else newest),
            decisions,
            with_contents(rejected, contents),
        )

    @override
    async def rounds(self, proposal: Proposal, most: int) -> Rounds:
        with database_errors():
            workflow = await read_workflow_of(self._pool, proposal.draft_id)
            return Rounds(workflow, await read_requests(self._pool, proposal.id, most))

    @override
    @asynccontextmanager
    async def reviewing(
        self, principal: Principal, proposal_id: UUID, *, with_draft: bool = False
    ) -> AsyncIterator[ReviewEdit]:
        with database_errors():
            row = await self._pool.fetchrow(_MAY_DECIDE, proposal_id, principal.user_id)
        if row is None:
            raise NotFound("no such proposal")
        if not row["may_decide"]:
            raise PermissionDenied("only an owner or editor may decide about a proposal")
        draft_id = row["draft_id"]
        if with_draft:
            async with self._locks.turn(proposal_id), self._drafts.transaction(draft_id) as connection:
                draft = await open_edit(connection, principal, draft_id)
                yield await _open(connection, principal, proposal_id, draft.frozen, draft)
            return
        async with self._locks.turn(proposal_id):
            with database_errors():
                async with (
                    self._pool.acquire() as connection,
                    connection.transaction(),
                ):
                    frozen = await connection.fetchval(_LOCK_WORKFLOW, draft_id)
                    yield await _open(connection, principal, proposal_id, frozen, None)


async def _open(
    connection: Any, principal: Principal, proposal_id: UUID, frozen: str | None, draft: DraftEdit | None
) -> ReviewEdit:
    """Lock the proposal in the connection's transaction."""
    await connection.execute(_LOCK, proposal_id)
    return _Edit(
        connection, principal, await read_proposal(connection, principal, proposal_id), frozen, draft
    )


async def _read_decisions(connection: Any, proposal_id: UUID) -> dict[str, FileDecision]:
    return {
        unescape_name(row["path"]): _decision(row) for row in await connection.fetch(_DECISIONS, proposal_id)
    }


def _decision(row: Mapping[str, Any]) -> FileDecision:
    hunks = {hunk_id: Decision(word) for hunk_id, word in json.loads(row["hunks"]).items()}
    decision = None if row["decision"] is None else Decision(row["decision"])
    return FileDecision(decision, hunks, row["new_path"], row["sha256"])


def _brought_in(proposal: Proposal, decisions: Mapping[str, FileDecision]) -> dict[str, DraftFile]:
    """The files that the proposal rejects and a decision gives a new path, without contents."""
    return {
        each.path: DraftFile(each.path, each.sha256, each.size_bytes or 0, proposal.created_at)
        for each in proposal.rejected_files
        if each.sha256 is not None and each.path in decisions and decisions[each.path].new_path is not None
    }


class _Edit(ReviewEdit):
    """A transaction that holds the lock of a proposal."""

    def __init__(
        self,
        connection: Any,
        principal: Principal,
        proposal: Proposal,
        frozen: str | None,
        draft: DraftEdit | None,
    ) -> None:
        self._connection, self._principal = connection, principal
        self._proposal, self._frozen, self._draft = proposal, frozen, draft

    @property
    @override
    def proposal(self) -> Proposal:
        return self._proposal

    @property
    @override
    def frozen(self) -> str | None:
        return self._frozen

    @property
    @override
    def draft(self) -> DraftEdit:
        if self._draft is None:
            raise RuntimeError("the transaction was not opened to change the draft")
        return self._draft

    @override
    async def is_repeat(self, key: IdempotencyKey | None) -> bool:
        return await find_written(self._connection, self._principal.user_id, key) is not None

    @override
    async def set_decisions(self, decisions: Mapping[str, FileDecision], *, now: datetime) -> Proposal:
        kept = {path: decision for path, decision in decisions.items() if not decision.is_empty}
        await self._connection.execute(_DELETE, self._proposal.id, list(map(escape_name, decisions)))
        await self._connection.execute(
            _ADD,
            self._proposal.id,
            list(map(escape_name, kept)),
            [each.decision and each.decision.value for each in kept.values()],
            [each.new_path for each in kept.values()],
            [None if each.sha256 is None else bytes.fromhex(each.sha256) for each in kept.values()],
            [json.dumps(each.hunks) for each in kept.values()],
        )
        return await self._counted(now)

    @override
    async def resolve(
        self,
        resolution: Resolution,
        *,
        comment: str,
        now: datetime,
        result_version: int | None = None,
        key: IdempotencyKey | None = None,
    ) -> Proposal:
        proposal_id, user_id = self._proposal.id, self._principal.user_id
        await self._connection.execute(
            _RESOLVE, proposal_id, resolution.value, comment, result_version, user_id, now
        )
        await add_to_outbox(
            self._connection,
            proposal_resolved(proposal_id, resolution=resolution.value, draft_version=result_version or 0),
        )
        await store_key(self._connection, user_id, key, Written(proposal_id=proposal_id))
        return await self._counted(now)

    async def _counted(self, now: datetime) -> Proposal:
        await self._connection.execute(_COUNT, self._proposal.id, now)
        return await read_proposal(self._connection, self._principal, self._proposal.id)
