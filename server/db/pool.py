"""The pool of connections that all stores of a process share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from server.addresses.postgres import parse_address
from server.db.connections import connect_to
from server.db.errors import database_errors


@asynccontextmanager
async def open_pool(
    dsn: str,
    *,
    min_size: int = 0,
    max_size: int = 10,
    statement_cache_size: int = 100,
    connect_timeout_s: float = 5.0,
    command_timeout_s: float = 10.0,
    close_timeout_s: float = 5.0,
    application_name: str = "ide-orchestrator",
) -> AsyncIterator[Any]:
    """An asyncpg pool, closed at the end of the block.

    With `min_size` 0 it opens without a database. `statement_cache_size` 0 is for a transaction pooler
    (pgbouncer) in front of the database. Closing waits `close_timeout_s` for connections in use, then drops
    them. The pool has no codecs: jsonb values are text. Raises AddressError, DatabaseUnavailable.
    """
    address = parse_address(dsn)

    async def _connect(_dsn: None, **driver: Any) -> Any:
        return await connect_to(address, **driver)

    with database_errors():
        pool = await asyncpg.create_pool(
            connect=_connect,
            min_size=min_size,
            max_size=max_size,
            statement_cache_size=statement_cache_size,
            timeout=address.connect_timeout_s(connect_timeout_s),
            command_timeout=command_timeout_s,
            server_settings=address.server_settings(application_name),
        )
    try:
        yield pool
    finally:
        try:
            await asyncio.wait_for(pool.close(), close_timeout_s)
        except TimeoutError:
            pool.terminate()
