"""The pool of connections that all stores of a process share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg
from asyncpg.pool import PoolAcquireContext

from server.addresses.postgres import parse_address
from server.db.connections import connect_to
from server.db.connector import Connector
from server.db.errors import database_errors

#: Seconds to wait for a connection that is free, or to make one, and to give one back.
ACQUIRE_S = 3.0
#: Statements of one connection, and seconds for which it may be idle, until it is replaced.
MAX_QUERIES, MAX_IDLE_S = 50_000, 300.0
#: Seconds that the server has to confirm that it cancelled a statement which got no answer in time.
CANCEL_S = 1.0


class _Acquired(PoolAcquireContext):  # type: ignore[misc] # the driver has no types
    """A connection for a block. One whose statement got no answer in time is soon dropped."""

    async def __aexit__(self, *exc: Any) -> None:
        if isinstance(exc[1], TimeoutError):
            with contextlib.suppress(TimeoutError):
                await self.pool.release(self.connection, timeout=CANCEL_S)
        await super().__aexit__(*exc)


class _Connection(asyncpg.Connection):  # type: ignore[misc] # the driver has no types
    """A connection that is given back as it is: no statement of the hub leaves anything in its session, and a
    transaction that is still open is rolled back all the same. To have the server reset it would take another
    round trip for each use, each commit of the journal among them."""

    def get_reset_query(self) -> str:
        """Nothing: the driver sends no statement then."""
        return ""


class BoundedPool(asyncpg.Pool):  # type: ignore[misc] # the driver has no types
    """A pool that lets nobody wait long: neither for a connection nor until one is given back."""

    def __init__(self, *, acquire_s: float, connect: Connector, **options: Any) -> None:
        super().__init__(connect=connect, **options)
        self._acquire_s, self._connector = acquire_s, connect

    @property
    def seconds_since_reconnect(self) -> float:
        """As `Connector.seconds_since_reconnect`."""
        return self._connector.seconds_since_reconnect

    def acquire(self, *, timeout: float | None = None) -> _Acquired:
        """As in asyncpg, within `acquire_s` by default. Raises TimeoutError."""
        return _Acquired(self, self._acquire_s if timeout is None else timeout)


@asynccontextmanager
async def open_pool(
    dsn: str,
    *,
    min_size: int = 0,
    max_size: int = 10,
    statement_cache_size: int = 100,
    connect_timeout_s: float = ACQUIRE_S,
    command_timeout_s: float = 5.0,
    close_timeout_s: float = 5.0,
    application_name: str = "ide-orchestrator",
) -> AsyncIterator[Any]:
    """An asyncpg pool, closed at the end of the block.

    With `min_size` 0 it opens without a database. `statement_cache_size` 0 says that a transaction pooler
    (pgbouncer) is in front of the database; otherwise the pool finds out. A statement that may take longer
    than `command_timeout_s` has a timeout of its own. Closing waits `close_timeout_s` for connections in use,
    then drops them. The pool has no codecs: jsonb values are text. Raises AddressError,
    DatabaseUnavailable.
    """
    address = parse_address(dsn)
    connect_s = address.connect_timeout_s(connect_timeout_s)
    with database_errors():
        pool = await BoundedPool(
            acquire_s=max(ACQUIRE_S, connect_s * len(address.hosts)),
            connect=Connector(pooled=statement_cache_size == 0, connect=partial(connect_to, address)),
            connection_class=_Connection,
            record_class=asyncpg.Record,
            loop=asyncio.get_running_loop(),
            max_queries=MAX_QUERIES,
            max_inactive_connection_lifetime=MAX_IDLE_S,
            min_size=min_size,
            max_size=max_size,
            statement_cache_size=statement_cache_size,
            timeout=connect_s,
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
