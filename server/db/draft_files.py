"""The files of a draft's versions in PostgreSQL: a version has a row for each file that it changed.

The file of a path at a version is in the path's row with the highest version up to that one. SQL, with an
array for each column, because a statement can have at most 32,767 parameters (ADR 0003).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from server.db.contents import FILES_S, add_contents
from server.domain.drafts.changes import Changes
from server.domain.drafts.draft import DraftFile

#: The files of draft $1 at version $2, as `t`; `c` are their contents.
_FILES = """
FROM (
  SELECT DISTINCT ON (path) path, sha256, version FROM draft_version_files
  WHERE draft_id = $1 AND version <= $2 ORDER BY path, version DESC
) t JOIN contents c ON c.sha256 = t.sha256
"""

_SELECT = f"""
SELECT t.path, encode(t.sha256, 'hex') AS sha256, octet_length(c.content) AS size_bytes,
  v.created_at AS modified_at, CASE WHEN $3 THEN c.content END AS content
{_FILES} JOIN draft_versions v ON v.draft_id = $1 AND v.version = t.version
ORDER BY t.path COLLATE "C"
"""

#: Bytes of the contents of a draft's files at a version.
_SIZE = f"SELECT coalesce(sum(octet_length(c.content)), 0)::bigint {_FILES}"

_ADD = """
INSERT INTO draft_version_files (draft_id, version, path, sha256)
SELECT $1, $2, * FROM unnest($3::text[], $4::bytea[])
"""


async def read_draft_files(
    connection: Any, draft_id: UUID, version: int, *, contents: bool = False
) -> dict[str, DraftFile]:
    """The files of a draft at a version, in path order, on a connection or a pool."""
    rows = await connection.fetch(_SELECT, draft_id, version, contents, timeout=FILES_S)
    return {row["path"]: DraftFile(**row) for row in rows}


def with_contents(files: Mapping[str, DraftFile], contents: Mapping[str, bytes]) -> dict[str, DraftFile]:
    """The files with their contents. contents: by hash (hex)."""
    return {path: replace(file, content=contents[file.sha256]) for path, file in files.items()}


async def size_of_draft_files(connection: Any, draft_id: UUID, version: int) -> int:
    """The bytes of the contents that a draft's files have at a version."""
    size: int = await connection.fetchval(_SIZE, draft_id, version)
    return size


async def add_draft_files(connection: Any, draft_id: UUID, version: int, changes: Changes) -> None:
    """Store what a version changed, with the contents that are new."""
    await add_contents(connection, changes.contents)
    paths, hashes = _columns(changes.hashes)
    await connection.execute(_ADD, draft_id, version, paths, hashes, timeout=FILES_S)


def _columns(hashes: Mapping[str, str | None]) -> tuple[Sequence[str], Sequence[bytes | None]]:
    values = [None if sha256 is None else bytes.fromhex(sha256) for sha256 in hashes.values()]
    return list(hashes), values
