"""The contents of proposals' files in PostgreSQL, by their hash.

SQL (ADR 0003): a part of a value is read without the rest of it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import asyncpg
from typing_extensions import override

from server.db.errors import database_errors
from server.db.file_json import files_from_jsonb
from server.domain.errors import NotFound
from server.domain.model import Principal
from server.domain.proposals.contents import ContentPiece, ContentStore

_READ = """
SELECT substring(c.content FROM $4 FOR $5) AS data, octet_length(c.content) AS size_bytes
FROM proposal_contents c
JOIN proposal_callers a ON a.proposal_id = c.proposal_id AND a.caller_id = $1
WHERE c.proposal_id = $2 AND c.sha256 = $3
"""

#: The files of a proposal without contents: an earlier release finished it.
_EARLIER = """
SELECT p.generated_files FROM proposals p
JOIN proposal_callers a ON a.proposal_id = p.id AND a.caller_id = $1
WHERE p.id = $2 AND NOT EXISTS (SELECT FROM proposal_contents c WHERE c.proposal_id = p.id)
"""

_ADD = """
INSERT INTO proposal_contents (proposal_id, sha256, content)
SELECT $1, * FROM unnest($2::bytea[], $3::bytea[]) ON CONFLICT DO NOTHING
"""

#: No content is larger: PostgreSQL's values are below 1 GiB.
_MAX_OFFSET = (1 << 31) - 2


async def add_contents(connection: Any, proposal_id: UUID, contents: Iterable[bytes]) -> None:
    """Store the contents of a proposal's files, on a connection or a pool."""
    by_hash = {hashlib.sha256(content).digest(): content for content in contents}
    await connection.execute(_ADD, proposal_id, list(by_hash), list(by_hash.values()))


class PostgresContentStore(ContentStore):
    """The contents of all proposals."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @override
    async def read_content(
        self, principal: Principal, proposal_id: UUID, sha256: str, *, offset: int, max_bytes: int
    ) -> ContentPiece:
        place = min(offset, _MAX_OFFSET)
        arguments = (principal.user_id, proposal_id, bytes.fromhex(sha256), place + 1, max_bytes)
        with database_errors():
            row = await self._pool.fetchrow(_READ, *arguments)
            if row is None and await self._add_earlier(principal, proposal_id):
                row = await self._pool.fetchrow(_READ, *arguments)
        if row is None:
            raise NotFound("no such file")
        return ContentPiece(row["data"], place, row["size_bytes"])

    async def _add_earlier(self, principal: Principal, proposal_id: UUID) -> bool:
        """Store the contents of a proposal that an earlier release finished; False if it has none."""
        stored = await self._pool.fetchval(_EARLIER, principal.user_id, proposal_id)
        files = await asyncio.to_thread(files_from_jsonb, stored)
        if not files:
            return False
        await add_contents(self._pool, proposal_id, [file.content for file in files.values()])
        return True
