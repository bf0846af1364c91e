"""Contents in PostgreSQL by their hash, one copy of each, and the files of proposals.

SQL (ADR 0003): a part of a value is read without the rest of it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
from typing_extensions import override

from server.db.errors import database_errors
from server.db.file_json import (
    file_from_json,
    files_from_jsonb,
    listed_file_from_json,
    unescape_name,
)
from server.db.pool import ACQUIRE_S
from server.domain.errors import NotFound
from server.domain.model import Principal
from server.domain.off_loop import REQUESTS
from server.domain.proposals.contents import SMALL_CONTENT_BYTES, ArchivedStore, ContentPiece
from server.domain.proposals.files import File, ListedFile

_READ = """
SELECT substring(c.content FROM $4 FOR $5) AS data, octet_length(c.content) AS size_bytes
FROM proposal_hashes h JOIN contents c ON c.sha256 = h.sha256
JOIN proposal_callers a ON a.proposal_id = h.proposal_id AND a.caller_id = $1
WHERE h.proposal_id = $2 AND h.sha256 = $3
"""

_READ_SMALL = """
SELECT encode(c.sha256, 'hex') AS sha256, c.content
FROM proposal_hashes h JOIN contents c ON c.sha256 = h.sha256
WHERE h.proposal_id = $1 AND h.sha256 = ANY($3::bytea[]) AND octet_length(c.content) <= $4
  AND EXISTS (SELECT FROM proposal_callers a WHERE a.proposal_id = $1 AND a.caller_id = $2)
"""

_READ_ALL = "SELECT encode(sha256, 'hex') AS sha256, content FROM contents WHERE sha256 = ANY($1::bytea[])"

#: The files of a proposal without contents: an earlier release finished it.
_EARLIER = """
SELECT p.generated_files FROM proposals p
JOIN proposal_callers a ON a.proposal_id = p.id AND a.caller_id = $1
WHERE p.id = $2 AND NOT EXISTS (SELECT FROM proposal_hashes h WHERE h.proposal_id = p.id)
"""

#: Stores contents by their hashes, with `{}` for what they come from. Those that are there stay.
ADD_CONTENTS = "INSERT INTO contents (sha256, content) SELECT sha256, content FROM {} ON CONFLICT DO NOTHING"
_ADD = ADD_CONTENTS.format("unnest($1::bytea[], $2::bytea[]) AS c(sha256, content)")

#: Names the contents of a proposal's files, with `{}` for its id and what the hashes come from.
NAME_CONTENTS = """
INSERT INTO proposal_hashes (proposal_id, sha256) SELECT {}, sha256 FROM {} ON CONFLICT DO NOTHING
"""
_NAME = NAME_CONTENTS.format("$1::uuid", "unnest($2::bytea[]) AS h(sha256)")

#: The files of a proposal, with their contents as far as they are stored by their hash.
_FILES = """
FROM proposals p CROSS JOIN LATERAL jsonb_each(p.generated_files) AS f
LEFT JOIN proposal_hashes h ON h.proposal_id = p.id AND h.sha256 = decode(f.value ->> 'sha256', 'hex')
LEFT JOIN contents c ON c.sha256 = h.sha256
WHERE p.id = $1
"""

#: The lines of a text are read only where its content is not stored by its hash: as one value it is read much
#: faster.
_READ_FILES = f"""
SELECT f.key AS name, f.value - 'content' AS form, c.content,
  CASE WHEN c.content IS NULL THEN f.value END AS whole
{_FILES}
"""

#: The same without the contents.
_LIST_FILES = f"""
SELECT f.key AS name, f.value - 'content' - 'extra' AS form, octet_length(c.content) AS size_bytes,
  CASE WHEN c.content IS NULL THEN f.value END AS whole
{_FILES}
"""

#: Bytes of a proposal's files, without reading them: of the contents, and of the rest about as it is stored.
#: Files without contents are those of an earlier release; they are stored compressed.
SIZE_OF_FILES = """
SELECT coalesce(pg_column_size(p.rejections), 0) + coalesce(
  pg_column_size(p.generated_files)
    + (SELECT sum(octet_length(c.content)) FROM proposal_hashes h JOIN contents c ON c.sha256 = h.sha256
       WHERE h.proposal_id = p.id)::bigint,
  octet_length(p.generated_files::text), 0)
FROM proposals p JOIN proposal_callers a ON a.proposal_id = p.id AND a.caller_id = $1
WHERE p.id = $2
"""
#: The same without the contents: of each file a path of at most 1 KiB, hash, times and marks. Files without
#: contents are read whole.
SIZE_OF_LISTING = """
SELECT coalesce(pg_column_size(p.rejections), 0) + p.file_count * 2048
  + CASE WHEN EXISTS (SELECT FROM proposal_hashes h WHERE h.proposal_id = p.id) THEN 0
      ELSE coalesce(octet_length(p.generated_files::text), 0) END
FROM proposals p JOIN proposal_callers a ON a.proposal_id = p.id AND a.caller_id = $1
WHERE p.id = $2
"""
#: How many times these bytes they take: as rows, and as files.
FILES_COPIES = 2

#: Seconds for a statement that reads or writes all files of a proposal. Few files get the time of any use of
#: the pool, so that their readers learn as soon as others that the database does not answer.
FILES_S = 10.0
#: Seconds for a use of the pool that has such a statement.
FILES_USE_S = ACQUIRE_S + FILES_S
_FEW_FILES_BYTES = 32 << 20
#: Files of one statement that stores contents, and their bytes, the last one's excepted.
_STATEMENT_FILES, _STATEMENT_BYTES = 1_000, 4 << 20
#: No content is larger: PostgreSQL's values are below 1 GiB.
_MAX_OFFSET = (1 << 31) - 2


def fit_in_statement(contents: Mapping[str, bytes]) -> bool:
    """Whether these contents may be arguments of one statement: the driver encodes them without yielding to
    the event loop."""
    return len(contents) <= _STATEMENT_FILES and sum(map(len, contents.values())) <= _STATEMENT_BYTES


async def add_contents(
    connection: Any, contents: Mapping[str, bytes], *, timeout_s: float = FILES_S
) -> Sequence[bytes]:
    """Store contents by their hashes (hex), on a connection or a pool; those that are there stay. Returns the
    hashes.

    In the order of the hashes: otherwise two transactions with the same contents could wait for each other.
    Split into several statements: the driver encodes all arguments of one without yielding to the event loop.
    """
    hashes: list[bytes] = []
    begun = size_bytes = 0
    values: list[bytes] = []
    for sha256 in sorted(contents):
        hashes.append(bytes.fromhex(sha256))
        values.append(contents[sha256])
        size_bytes += len(contents[sha256])
        if len(values) == _STATEMENT_FILES or size_bytes >= _STATEMENT_BYTES:
            await connection.execute(_ADD, hashes[begun:], values, timeout=timeout_s)
            begun, size_bytes, values = len(hashes), 0, []
    if values:
        await connection.execute(_ADD, hashes[begun:], values, timeout=timeout_s)
    return hashes


async def add_proposal_contents(
    connection: Any, proposal_id: UUID, contents: Mapping[str, bytes], *, timeout_s: float = FILES_S
) -> None:
    """Store the contents of a proposal's files by their hashes (hex), on a connection or a pool."""
    hashes = await add_contents(connection, contents, timeout_s=timeout_s)
    if hashes:
        await connection.execute(_NAME, proposal_id, hashes, timeout=timeout_s)


@dataclass(frozen=True, slots=True)
class StoredProposalFiles:
    """The files of a proposal, or these without contents, and the marks of portability of those that have
    any."""

    by_path: Mapping[str, File] = field(default_factory=dict)
    listed: Mapping[str, ListedFile] = field(default_factory=dict)
    portability: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


async def read_files(pool: asyncpg.Pool, proposal_id: UUID, size_bytes: int | None) -> StoredProposalFiles:
    """The files of a proposal that the caller may see. size_bytes: about their bytes, if known.

    Raises DatabaseUnavailable.
    """
    rows = await _fetch_files(pool, _READ_FILES, proposal_id, size_bytes)
    sizes = (len(row["content"] or b"") + len(row["whole"] or row["form"]) for row in rows)
    return await REQUESTS.run_unless_small(sizes, _files_of, rows)


async def list_files(pool: asyncpg.Pool, proposal_id: UUID, size_bytes: int | None) -> StoredProposalFiles:
    """The same without contents: as `listed`."""
    rows = await _fetch_files(pool, _LIST_FILES, proposal_id, size_bytes)
    sizes = (len(row["whole"] or row["form"]) for row in rows)
    return await REQUESTS.run_unless_small(sizes, _listed_files_of, rows)


async def _fetch_files(
    pool: asyncpg.Pool, statement: str, proposal_id: UUID, size_bytes: int | None
) -> Sequence[Mapping[str, Any]]:
    few = size_bytes is not None and size_bytes <= _FEW_FILES_BYTES
    with database_errors():
        rows: Sequence[Mapping[str, Any]] = await pool.fetch(
            statement, proposal_id, timeout=None if few else FILES_S
        )
    return rows


def _files_of(rows: Sequence[Mapping[str, Any]]) -> StoredProposalFiles:
    files = {}
    portability: dict[str, tuple[str, ...]] = {}
    for row in rows:
        path, form = _path_and_form(row)
        files[path] = file_from_json(form, row["content"])
        portability |= _marks(path, form)
    return StoredProposalFiles(files, portability=portability)


def _listed_files_of(rows: Sequence[Mapping[str, Any]]) -> StoredProposalFiles:
    listed = {}
    portability: dict[str, tuple[str, ...]] = {}
    for row in rows:
        path, form = _path_and_form(row)
        listed[path] = listed_file_from_json(form, row["size_bytes"])
        portability |= _marks(path, form)
    return StoredProposalFiles(listed=listed, portability=portability)


def _path_and_form(row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return unescape_name(row["name"]), json.loads(row["whole"] or row["form"])


def _marks(path: str, form: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {path: tuple(form["portability"])} if "portability" in form else {}


async def read_contents(pool: asyncpg.Pool, hashes: Sequence[str]) -> dict[str, bytes]:
    """Contents by their hashes (hex), for a caller who may see what has them."""
    rows = await pool.fetch(_READ_ALL, [bytes.fromhex(sha256) for sha256 in hashes], timeout=FILES_S)
    return {row["sha256"]: row["content"] for row in rows}


async def read_piece(
    pool: asyncpg.Pool, statement: str, one: UUID, other: UUID, sha256: str, offset: int, max_bytes: int
) -> ContentPiece:
    """The piece of a content from `offset` on, by a statement that decides who may read it.

    Its parameters are two ids, the hash, the place of the first byte, from 1, and the number of bytes. Raises
    NotFound, DatabaseUnavailable.
    """
    place = min(offset, _MAX_OFFSET)
    with database_errors():
        row = await pool.fetchrow(statement, one, other, bytes.fromhex(sha256), place + 1, max_bytes)
    if row is None:
        raise NotFound("no such file")
    return ContentPiece(row["data"], place, row["size_bytes"])


async def read_small(
    pool: asyncpg.Pool, statement: str, holder_id: UUID, caller_id: UUID, hashes: Sequence[str]
) -> dict[str, bytes]:
    """As `ArchivedStore.read_small`, by a statement that decides who may read them. Its parameters are the
    two ids, the hashes and SMALL_CONTENT_BYTES."""
    named = [bytes.fromhex(sha256) for sha256 in hashes]
    with database_errors():
        rows = await pool.fetch(statement, holder_id, caller_id, named, SMALL_CONTENT_BYTES)
    return {row["sha256"]: row["content"] for row in rows}


class PostgresContentStore(ArchivedStore):
    """The contents of all proposals."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        #: The files of an earlier release are read whole: those of one proposal at a time.
        self._adding = asyncio.Lock()

    @override
    async def read_content(
        self, principal: Principal, proposal_id: UUID, sha256: str, *, offset: int, max_bytes: int
    ) -> ContentPiece:
        read = partial(
            read_piece, self._pool, _READ, principal.user_id, proposal_id, sha256, offset, max_bytes
        )
        try:
            return await read()
        except NotFound:
            with database_errors():
                await self._add_earlier(principal, proposal_id)
        return await read()

    @override
    async def read_small(
        self, principal: Principal, holder_id: UUID, hashes: Sequence[str], /
    ) -> Mapping[str, bytes]:
        return await read_small(self._pool, _READ_SMALL, holder_id, principal.user_id, hashes)

    async def _add_earlier(self, principal: Principal, proposal_id: UUID) -> None:
        """Store the contents of a proposal that an earlier release finished."""
        async with self._adding:
            stored = await self._pool.fetchval(_EARLIER, principal.user_id, proposal_id)
            if stored is not None:
                contents = await REQUESTS.run(_contents_of, stored)
                await add_proposal_contents(self._pool, proposal_id, contents)


def _contents_of(stored: str | None) -> dict[str, bytes]:
    return {file.sha256: file.content for file in files_from_jsonb(stored).values()}
