"""The key with which replicas prove to each other what they send over a carrier that may not be trusted."""

from __future__ import annotations

import asyncpg

from server.db.errors import database_errors


async def read_wakeup_key(pool: asyncpg.Pool) -> bytes:
    """The random key of all replicas on this database, 32 bytes. Raises DatabaseUnavailable."""
    with database_errors():
        key: bytes = await pool.fetchval("SELECT key FROM wakeup_key")
        return key
