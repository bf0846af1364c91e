"""The files of a draft's versions in PostgreSQL: a version has a row for each file that it changed.

The file of a path at a version is in the path's row with the highest version up to that one. Every now and
then, a version has a row for each of its files: older rows are not read for it and those after it. So a read
takes as long for a draft with a long history as for a new one (ADR 0072). SQL, with an array for each column,
because a statement can have at most 32,767 parameters (ADR 0003).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from server.db.contents import FILES_S, add_contents
from server.domain.drafts.changes import Changes
from server.domain.drafts.draft import DraftFile

#: The files of draft $1 at version $2, as `t`; `c` are their contents. The rows are read first, by their
#: version: in the order of their paths, all that the draft ever had would be read.
_FILES = """
FROM (
  WITH kept AS MATERIALIZED (
    SELECT path, sha256, version, written_version FROM draft_version_files
    WHERE draft_id = $1 AND version <= $2 AND version >= coalesce(
      (SELECT whole_version FROM draft_versions WHERE draft_id = $1 AND version = $2), 0)
  )
  SELECT DISTINCT ON (path) path, sha256, coalesce(written_version, version) AS version,
    version AS row_version
  FROM kept ORDER BY path, kept.version DESC
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

#: Returns how many rows a reader of the version reads.
_FOLLOW_WHOLE = """
UPDATE draft_versions v SET whole_version = b.whole_version FROM draft_versions b
WHERE v.draft_id = $1 AND v.version = $2 AND b.draft_id = $1 AND b.version = $2 - 1
RETURNING (
  SELECT count(*) FROM draft_version_files f
  WHERE f.draft_id = $1 AND f.version >= coalesce(b.whole_version, 0)
)
"""
_ADD_WHOLE = f"""
INSERT INTO draft_version_files (draft_id, version, path, sha256, written_version)
SELECT $1, $2, t.path, t.sha256, t.version {_FILES} WHERE t.row_version < $2
"""
_SET_WHOLE = "UPDATE draft_versions SET whole_version = $2 WHERE draft_id = $1 AND version = $2"

#: A version is whole when more rows than these, and twice its files, would be read for it.
_MAX_ROWS = 1_000


async def read_draft_files(
    connection: Any, draft_id: UUID, version: int, *, contents: bool = False
) -> dict[str, DraftFile]:
    """The files of a draft at a version, in path order, on a connection or a pool."""
    rows = await connection.fetch(_SELECT, draft_id, version, contents, timeout=FILES_S)
    # Not in a thread, for whose time a transaction would wait: 5,000 files take 2 ms.
    return {row["path"]: DraftFile._make(row) for row in rows}


def with_contents(files: Mapping[str, DraftFile], contents: Mapping[str, bytes]) -> dict[str, DraftFile]:
    """The files with their contents, as far as these were read. contents: by hash (hex)."""
    return {path: file._replace(content=contents.get(file.sha256)) for path, file in files.items()}


async def size_of_draft_files(connection: Any, draft_id: UUID, version: int) -> int:
    """The bytes of the contents that a draft's files have at a version."""
    size: int = await connection.fetchval(_SIZE, draft_id, version)
    return size


async def add_draft_files(
    connection: Any, draft_id: UUID, version: int, changes: Changes, *, file_count: int = 0
) -> None:
    """Store what a version changed, with the contents that are new, in the transaction that adds the version.
    file_count: the files that the draft had before."""
    await add_contents(connection, changes.contents)
    paths, hashes = _columns(changes.hashes)
    await connection.execute(_ADD, draft_id, version, paths, hashes, timeout=FILES_S)
    rows = await connection.fetchval(_FOLLOW_WHOLE, draft_id, version, timeout=FILES_S)
    if rows is not None and rows > max(_MAX_ROWS, 2 * (file_count + len(paths))):
        await connection.execute(_ADD_WHOLE, draft_id, version, timeout=FILES_S)
        await connection.execute(_SET_WHOLE, draft_id, version)


def _columns(hashes: Mapping[str, str | None]) -> tuple[Sequence[str], Sequence[bytes | None]]:
    values = [None if sha256 is None else bytes.fromhex(sha256) for sha256 in hashes.values()]
    return list(hashes), values
