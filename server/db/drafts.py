"""Drafts and their versions in PostgreSQL.

The view `draft_callers` decides who may see and change a draft: a draft that the caller may not see and one
that does not exist have the same result. SQL, because each statement depends on the caller or takes locks
(ADR 0003).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from typing_extensions import override

from server.db.contents import FILES_COPIES, FILES_USE_S, read_contents, read_piece, read_small
from server.db.draft_files import add_draft_files, read_draft_files, size_of_draft_files, with_contents
from server.db.errors import database_errors
from server.db.idempotency import Written, find_written, store_key
from server.db.large_reads import LargeReads
from server.db.lock_queues import LockQueues
from server.db.page_tokens import version_place, version_token
from server.domain.drafts.changes import Changes
from server.domain.drafts.draft import Draft, DraftFile, DraftVersion, etag_of
from server.domain.drafts.store import DraftEdit, DraftStore
from server.domain.errors import NotFound, PermissionDenied
from server.domain.fair_budget import Reservation
from server.domain.model import IdempotencyKey, Page, Principal
from server.domain.proposals.contents import ContentPiece

#: The largest number of a version that a column holds; there is none above.
_MAX_VERSION = (1 << 31) - 1
#: How many times its bytes a draft takes: as rows, as files, as an answer.
_COPIES = 3

_VERSION = """
SELECT d.id, d.workflow_id, v.version, d.version AS latest_version, n.created_at AS latest_created_at,
  v.created_at, v.created_by_user_id, v.proposal_id, coalesce(v.restored_version, 0) AS restored_version
FROM drafts d JOIN draft_versions n ON n.draft_id = d.id AND n.version = d.version
"""

_VISIBLE = "EXISTS (SELECT FROM draft_callers a WHERE a.draft_id = d.id AND a.caller_id = $2)"

_GET = f"""
{_VERSION} LEFT JOIN draft_versions v ON v.draft_id = d.id AND v.version = coalesce($3, d.version)
WHERE d.id = $1 AND {_VISIBLE}
"""

_PAGE = f"""
{_VERSION} JOIN draft_versions v ON v.draft_id = d.id AND v.version <= least(d.version, $3)
WHERE d.id = $1 AND {_VISIBLE} ORDER BY v.version DESC LIMIT $4
"""

_CONTENT = f"""
SELECT substring(c.content FROM $4 FOR $5) AS data, octet_length(c.content) AS size_bytes
FROM drafts d JOIN contents c ON c.sha256 = $3
WHERE d.id = $1 AND {_VISIBLE}
  AND EXISTS (SELECT FROM draft_version_files f WHERE f.draft_id = d.id AND f.sha256 = $3)
"""  # noqa: S608 - only constants

_SMALL = f"""
SELECT encode(c.sha256, 'hex') AS sha256, c.content FROM contents c
WHERE c.sha256 = ANY($3::bytea[]) AND octet_length(c.content) <= $4
  AND EXISTS (SELECT FROM draft_version_files f WHERE f.draft_id = $1 AND f.sha256 = c.sha256)
  AND EXISTS (SELECT FROM drafts d WHERE d.id = $1 AND {_VISIBLE})
"""  # noqa: S608 - only constants

#: Why a workflow `w` may not be changed.
FROZEN = """
CASE WHEN w.archived_at IS NOT NULL THEN 'archived' WHEN w.locked_at IS NOT NULL THEN 'locked' END
"""

_MAY_WRITE = """
SELECT bool_or(access_type <> 'viewer') FROM draft_callers WHERE draft_id = $1 AND caller_id = $2
"""

#: Until the transaction ends, runs of the draft may start, but nobody locks or archives its workflow.
_LOCK = f"""
SELECT d.version, {FROZEN} AS frozen
FROM drafts d JOIN workflows w ON w.id = d.workflow_id WHERE d.id = $1
FOR NO KEY UPDATE OF d FOR SHARE OF w
"""  # noqa: S608 - only constants

_ADD_VERSION = """
INSERT INTO draft_versions (draft_id, version, created_at, created_by_user_id, restored_version, proposal_id)
VALUES ($1, $2, $3, $4, $5, $6)
"""

_SET_VERSION = """
UPDATE drafts SET version = $2, updated_at = $3, updated_by_user_id = $4 WHERE id = $1
"""


class PostgresDraftStore(DraftStore):
    """The drafts of all workflows."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._locks, self._large_reads = LockQueues(), LargeReads()

    @override
    async def get(
        self,
        principal: Principal,
        draft_id: UUID,
        version: int | None = None,
        *,
        files: bool = True,
        contents: bool = True,
        reservation: Reservation | None = None,
    ) -> Draft:
        with database_errors():
            async with self._pool.acquire() as connection:
                draft = await read_draft(connection, principal, draft_id, version)
                if not files:
                    return draft
                if contents and reservation is not None:
                    size = await size_of_draft_files(connection, draft_id, draft.version)
            if contents and reservation is not None:
                # Not while a connection is held: others may need it to give back what they have reserved.
                await reservation.resize(size * _COPIES)
            async with self._large_reads.turn(draft_id):
                found = await read_draft_files(self._pool, draft_id, draft.version, contents=contents)
            self._large_reads.note(draft_id, len(found))
        return replace(draft, files=found)

    @override
    async def pair(
        self,
        principal: Principal,
        draft_id: UUID,
        version: int | None = None,
        base_version: int | None = None,
        *,
        reservation: Reservation | None = None,
    ) -> tuple[Draft | None, Draft]:
        with database_errors():
            async with self._pool.acquire(limit_s=FILES_USE_S) as connection:
                draft = await read_draft(connection, principal, draft_id, version)
                number = base_version or draft.version - 1
                base = await read_draft(connection, principal, draft_id, number) if number else None
                files = await read_draft_files(connection, draft_id, draft.version)
                base_files = await read_draft_files(connection, draft_id, number)
            # A content that both have is read once, and none of a file that does not differ.
            wanted = _differing(files, base_files)
            if reservation is not None:
                # Not while a connection is held, as above.
                await reservation.resize(sum(wanted.values()) * FILES_COPIES)
            contents = await read_contents(self._pool, list(wanted))
        if base is not None:
            base = replace(base, files=with_contents(base_files, contents))
        return base, replace(draft, files=with_contents(files, contents))

    @override
    async def files_of(
        self, version: DraftVersion, *, max_bytes: int, contents: bool
    ) -> Mapping[str, DraftFile]:
        named = (version.draft_id, version.version)
        with database_errors():
            async with self._pool.acquire(limit_s=FILES_USE_S) as connection:
                if await size_of_draft_files(connection, *named) > max_bytes:
                    return {}
                return await read_draft_files(connection, *named, contents=contents)

    @override
    async def versions(self, principal: Principal, draft_id: UUID, *, limit: int, token: str | None) -> Page:
        below = _MAX_VERSION if token is None else version_place(draft_id, token) - 1
        with database_errors():
            rows = await self._pool.fetch(
                _PAGE, draft_id, principal.user_id, min(below, _MAX_VERSION), limit + 1
            )
            if not rows:
                await read_draft(self._pool, principal, draft_id, None)
        drafts = tuple(map(_draft_of, rows[:limit]))
        more = len(rows) > limit
        return Page(drafts, version_token(draft_id, drafts[-1].version) if more else None)

    @override
    async def read_content(
        self, principal: Principal, draft_id: UUID, sha256: str, *, offset: int, max_bytes: int
    ) -> ContentPiece:
        return await read_piece(self._pool, _CONTENT, draft_id, principal.user_id, sha256, offset, max_bytes)

    @override
    async def read_small(
        self, principal: Principal, draft_id: UUID, hashes: Sequence[str]
    ) -> Mapping[str, bytes]:
        return await read_small(self._pool, _SMALL, draft_id, principal.user_id, hashes)

    @override
    @asynccontextmanager
    async def editing(self, principal: Principal, draft_id: UUID) -> AsyncIterator[DraftEdit]:
        async with self.transaction(draft_id) as connection:
            yield await open_edit(connection, principal, draft_id)

    @asynccontextmanager
    async def transaction(self, draft_id: UUID) -> AsyncIterator[Any]:
        """The connection of a transaction that is to lock the draft. Raises DatabaseUnavailable."""
        async with self._locks.turn(draft_id):
            with database_errors():
                async with (
                    self._pool.acquire(limit_s=FILES_USE_S) as connection,
                    connection.transaction(),
                ):
                    yield connection


def _differing(files: Mapping[str, DraftFile], others: Mapping[str, DraftFile]) -> dict[str, int]:
    """Bytes of each content of the files that differ, by its hash."""
    sizes = {}
    for one, other in ((files, others), (others, files)):
        for path, file in one.items():
            if path not in other or other[path].sha256 != file.sha256:
                sizes[file.sha256] = file.size_bytes
    return sizes


async def open_edit(connection: Any, principal: Principal, draft_id: UUID) -> DraftEdit:
    """Lock the draft in the connection's transaction. Raises as `DraftStore.editing`."""
    # Before the lock: those who may not write the draft hold nobody up.
    may_write = await connection.fetchval(_MAY_WRITE, draft_id, principal.user_id)
    if may_write is None:
        raise NotFound("no such draft")
    if not may_write:
        raise PermissionDenied("only an owner or editor may change a draft")
    version, frozen = await connection.fetchrow(_LOCK, draft_id)
    draft = await read_draft(connection, principal, draft_id, version)
    files = await read_draft_files(connection, draft_id, version)
    return _Edit(connection, principal, replace(draft, files=files), frozen)


class _Edit(DraftEdit):
    """A transaction that holds the lock of a draft."""

    def __init__(self, connection: Any, principal: Principal, draft: Draft, frozen: str | None) -> None:
        self._connection, self._principal = connection, principal
        self._draft, self._frozen = draft, frozen

    @property
    @override
    def draft(self) -> Draft:
        return self._draft

    @property
    @override
    def frozen(self) -> str | None:
        return self._frozen

    @override
    async def earlier(self, key: IdempotencyKey | None) -> Draft | None:
        written = await find_written(self._connection, self._principal.user_id, key)
        if written is None:
            return None
        return await read_draft(self._connection, self._principal, self._draft.id, written.draft_version)

    @override
    async def files_at(self, version: int) -> Mapping[str, DraftFile]:
        await read_draft(self._connection, self._principal, self._draft.id, version)
        return await read_draft_files(self._connection, self._draft.id, version)

    @override
    async def add_version(
        self,
        changes: Changes,
        *,
        now: datetime,
        key: IdempotencyKey | None = None,
        restored_version: int = 0,
        proposal_id: UUID | None = None,
    ) -> Draft:
        draft_id, user_id, version = self._draft.id, self._principal.user_id, self._draft.version + 1
        execute = self._connection.execute
        await execute(_ADD_VERSION, draft_id, version, now, user_id, restored_version or None, proposal_id)
        await add_draft_files(self._connection, draft_id, version, changes, file_count=len(self._draft.files))
        await execute(_SET_VERSION, draft_id, version, now, user_id)
        await store_key(self._connection, user_id, key, Written(draft_id=draft_id, draft_version=version))
        return await read_draft(self._connection, self._principal, draft_id, version)


async def read_draft(connection: Any, principal: Principal, draft_id: UUID, version: int | None) -> Draft:
    """The draft at a version without files, on a connection or a pool. Raises NotFound."""
    wanted = version if version is None else min(version, _MAX_VERSION)
    row = await connection.fetchrow(_GET, draft_id, principal.user_id, wanted)
    if row is None:
        raise NotFound("no such draft")
    if row["version"] is None:
        raise NotFound("no such version")
    return _draft_of(row)


def _draft_of(row: Mapping[str, Any]) -> Draft:
    values = dict(row)
    latest_created_at = values.pop("latest_created_at")
    return Draft(**values, etag=etag_of(row["id"], row["latest_version"], latest_created_at))
