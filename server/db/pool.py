"""The pool of connections that all stores of a process share.

Whatever the database does, nobody waits long for it: a use of the pool ends within `USE_S`, including the
wait for a connection, all of its statements and the end of its transaction. What may take longer says how
long.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from typing import Any

import asyncpg
from asyncpg.pool import PoolAcquireContext

from server.addresses.postgres import parse_address
from server.db.connections import connect_to
from server.db.connector import Connector
from server.db.errors import database_errors
from server.domain.access.on_behalf_of import on_behalf_of
from server.domain.fair_queue import FairQueue

#: Seconds for which a use of the pool may last, then CANCEL_S to cancel its statement. Callers are refused
#: within 5 s, also hundreds of them on a machine that is busy.
USE_S = 3.5
#: Seconds to wait for a connection that is free, or to make one, and to give one back.
ACQUIRE_S = 2.5
#: Seconds that the server has to confirm that it cancelled a statement which got no answer in time.
CANCEL_S = 0.5
#: Seconds to connect to each host; the caller that waits for the connection may give up earlier.
CONNECT_S = 3.0
#: Seconds between two replacements of all connections while the server is read-only.
READ_ONLY_S = 1.0
#: Statements of one connection, and seconds for which it may be idle, until it is replaced.
MAX_QUERIES, MAX_IDLE_S = 50_000, 300.0


class _Acquired(PoolAcquireContext):  # type: ignore[misc] # the driver has no types
    """A connection for a block, which raises TimeoutError after `limit_s`, counted from here.

    A statement that got no answer is cancelled. If the server does not confirm that within CANCEL_S, the
    connection is dropped; so is a transaction whose end gets no answer.
    """

    def __init__(self, pool: BoundedPool, acquire_s: float, limit_s: float | None) -> None:
        super().__init__(pool, acquire_s)
        self._acquire_s, self._limit_s, self._limit = acquire_s, limit_s, asyncio.timeout(None)
        #: Ends the block, and then, after CANCEL_S, the connection.
        self._timer: asyncio.TimerHandle | None = None
        self._raw: asyncpg.Connection | None = None
        self._caller: Hashable = None
        self._began_at = 0.0
        self._ended = False

    async def __aenter__(self) -> Any:
        loop = asyncio.get_running_loop()
        self._began_at = loop.time()
        await self._limit.__aenter__()
        if self._limit_s is not None:
            self._timer = loop.call_at(self._began_at + self._limit_s, self._end, loop)
        try:
            connection = await self._connection()
        except BaseException:
            self._stop_timer()
            await self._limit.__aexit__(*sys.exc_info())
            raise
        self._raw = connection._con
        return connection

    async def _connection(self) -> Any:
        queue = self.pool.connections
        self._caller = on_behalf_of.get()
        if not queue.take_now(self._caller):
            async with asyncio.timeout(self._acquire_s):
                await queue.take(self._caller)
        try:
            return await super().__aenter__()
        except BaseException:
            queue.give_back(self._caller)
            raise

    async def __aexit__(self, *exc: Any) -> None:
        unanswered = isinstance(exc[1], TimeoutError | asyncio.CancelledError)
        self._ended = True
        try:
            if not self._limit.expired():
                # What the block did is done, however long it takes to give the connection back.
                self._limit.reschedule(None)
            if unanswered:
                with contextlib.suppress(TimeoutError):
                    await self.pool.release(self.connection, timeout=CANCEL_S)
            if isinstance(exc[1], asyncpg.ReadOnlySQLTransactionError):
                await self.pool.on_read_only()
            if self._raw is not None and self._raw.is_closed():
                await self.pool.on_lost(self._began_at)
            elif not unanswered:
                self.pool.on_answered()
            await super().__aexit__(*exc)
        finally:
            self.pool.connections.give_back(self._caller)
            self._stop_timer()
            await self._limit.__aexit__(*exc)

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if not self._ended:
            self._limit.reschedule(loop.time())
        if self._raw is not None:
            self._timer = loop.call_later(CANCEL_S, self._raw.terminate)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class _Connection(asyncpg.Connection):  # type: ignore[misc] # the driver has no types
    """A connection that returns to the pool without a reset: the hub leaves nothing in its session, and the
    driver still rolls back an open transaction. A reset would cost another round trip after each use, such as
    each commit of the journal."""

    def transaction(self, *, isolation: str = "read_committed", **options: Any) -> Any:
        """As in asyncpg, but at the level that the statements are written for: a session through a pooler has
        the database's own, and a lock that was waited for would be followed by what was read before it."""
        return super().transaction(isolation=isolation, **options)

    def get_reset_query(self) -> str:
        """Nothing: the driver sends no statement then."""
        return ""

    async def reset(self, *, timeout: float | None = None) -> None:
        """As in asyncpg, but without a timer when there is no transaction to roll back."""
        if self.is_in_transaction() or self._top_xact is not None:
            await super().reset(timeout=timeout)
        else:
            await self._reset()


class BoundedPool(asyncpg.Pool):  # type: ignore[misc] # the driver has no types
    """A pool that lets nobody wait long: neither for a connection, nor for an answer, nor at the end."""

    def __init__(self, *, connect: Connector, **options: Any) -> None:
        super().__init__(connect=connect, **options)
        self.connections = FairQueue(options["max_size"])
        self._connector = connect
        self._answered_at = 0.0
        #: Changes when idle connections may be dead. An attribute: it is looked at for each commit.
        self.generation = 0
        #: When connections were last replaced because the server was read-only.
        self._read_only_at = -inf

    @property
    def seconds_since_reconnect(self) -> float:
        """As `Connector.seconds_since_reconnect`."""
        return self._connector.seconds_since_reconnect

    def acquire(self, *, timeout: float | None = None, limit_s: float | None = USE_S) -> _Acquired:
        """A connection for a block of `limit_s` at most; None: each statement has a timeout of its own.

        Waits `timeout` for the connection, ACQUIRE_S by default. Raises TimeoutError, also in the block.
        """
        return _Acquired(self, ACQUIRE_S if timeout is None else timeout, limit_s)

    async def _acquire(self, timeout: float | None) -> Any:
        """As in asyncpg, but without a timer when a connection is idle, which is usual."""
        if self._closing or self._queue.empty():
            return await super()._acquire(timeout)
        holder = self._queue.get_nowait()
        if holder.is_connected() and holder._generation == self._generation:
            holder._timeout = timeout
            return await holder.acquire()
        self._queue.put_nowait(holder)
        return await super()._acquire(timeout)

    async def release(self, connection: Any, *, timeout: float | None = None) -> None:
        """As in asyncpg, but without a task when there is nothing to wait for, which is usual."""
        raw = connection._con
        if raw is None or raw.is_closed() or raw.is_in_transaction() or raw._protocol._is_cancelling():
            # A caller that is cancelled does not wait for the end of this, which may then fail for nobody.
            releasing = asyncio.ensure_future(super().release(connection, timeout=timeout))
            releasing.add_done_callback(lambda done: done.cancelled() or done.exception())
            await asyncio.shield(releasing)
            return
        raw._on_release()
        await connection._holder.release(ACQUIRE_S if timeout is None else timeout)

    async def connect(self) -> asyncpg.Connection:
        """A connection like those of the pool, which the caller keeps and closes. Raises TimeoutError."""
        async with asyncio.timeout(ACQUIRE_S):
            return await self._get_new_connection()

    @property
    def pooled(self) -> bool:
        """As `Connector.pooled`."""
        return self._connector.pooled

    async def expire_connections(self) -> None:
        """As in asyncpg."""
        await super().expire_connections()
        self.generation += 1

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """As in asyncpg; a `timeout` is the statement's alone."""
        async with self.acquire(limit_s=_limit_s(timeout)) as connection:
            return str(await connection.execute(query, *args, timeout=timeout))

    async def fetch(self, query: str, *args: Any, timeout: float | None = None) -> list[asyncpg.Record]:
        """As `execute`."""
        async with self.acquire(limit_s=_limit_s(timeout)) as connection:
            return list(await connection.fetch(query, *args, timeout=timeout))

    async def fetchrow(self, query: str, *args: Any, timeout: float | None = None) -> asyncpg.Record | None:
        """As `execute`."""
        async with self.acquire(limit_s=_limit_s(timeout)) as connection:
            return await connection.fetchrow(query, *args, timeout=timeout)

    async def fetchval(self, query: str, *args: Any, timeout: float | None = None) -> Any:
        """As `execute`."""
        async with self.acquire(limit_s=_limit_s(timeout)) as connection:
            return await connection.fetchval(query, *args, timeout=timeout)

    def on_answered(self) -> None:
        """The database answered a use that is over."""
        self._answered_at = self._loop.time()

    async def on_lost(self, began_at: float) -> None:
        """A connection was lost or dropped, whose use began at `began_at`.

        If no other was answered since, what is idle may be as dead: it is replaced before it is used.
        """
        if self._answered_at < began_at:
            await self.expire_connections()

    async def on_read_only(self) -> None:
        """A server refused to write: it may be no longer the primary. New connections lead to the one that
        is, those of before may stay where they are."""
        now = asyncio.get_running_loop().time()
        if now - self._read_only_at >= READ_ONLY_S:
            self._read_only_at = now
            await self.expire_connections()


def _limit_s(timeout: float | None) -> float:
    return USE_S if timeout is None else ACQUIRE_S + timeout


@asynccontextmanager
async def open_pool(
    dsn: str,
    *,
    min_size: int = 0,
    max_size: int = 10,
    statement_cache_size: int = 100,
    connect_timeout_s: float = CONNECT_S,
    command_timeout_s: float = USE_S,
    close_timeout_s: float = 2.0,
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
    connector = Connector(pooled=statement_cache_size == 0, connect=partial(connect_to, address))
    with database_errors():
        pool = await BoundedPool(
            connect=connector,
            connection_class=_Connection,
            record_class=asyncpg.Record,
            loop=asyncio.get_running_loop(),
            max_queries=MAX_QUERIES,
            max_inactive_connection_lifetime=MAX_IDLE_S,
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
        connector.close()
        try:
            await asyncio.wait_for(pool.close(), close_timeout_s)
        except TimeoutError:
            pool.terminate()
