"""The connection that the writer of the journal keeps for itself.

Taking a connection from the pool for each commit, and giving it back, would cost a timer and several turns of
the event loop.
"""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg

from server.db.pool import BoundedPool


class DedicatedConnection:
    """A connection outside the pool for one task, made when it is needed; made again after a failure."""

    def __init__(self, pool: BoundedPool) -> None:
        self._pool = pool
        self._connection: asyncpg.Connection | None = None
        #: The statements that are prepared on it. The driver's cache of them costs more to ask.
        self._statements: dict[str, asyncpg.prepared_stmt.PreparedStatement] = {}
        #: The pool's generation when the connection was made.
        self._generation = 0

    async def fetch(self, query: str, *args: Any, timeout: float) -> list[asyncpg.Record]:
        """The rows of a statement that may take `timeout` seconds. Raises as asyncpg does.

        A connection on which a statement failed is dropped, whatever the server still does with it: nobody
        waits for an answer that may never come. Like those of the pool, it is replaced when another one was
        lost and none has been answered since.
        """
        began_at = asyncio.get_running_loop().time()
        connection = self._connection
        if connection is None or connection.is_closed() or self._generation != self._pool.generation:
            self.close()
            self._generation = self._pool.generation
            connection = self._connection = await self._pool.connect()
        try:
            if self._pool.pooled:
                rows = await connection.fetch(query, *args, timeout=timeout)
            else:
                statement = self._statements.get(query)
                if statement is None:
                    statement = self._statements[query] = await connection.prepare(query, timeout=timeout)
                rows = await statement.fetch(*args, timeout=timeout)
        except BaseException:
            self.close()
            await self._pool.on_lost(began_at)
            raise
        self._pool.on_answered()
        return rows  # type: ignore[no-any-return]

    def close(self) -> None:
        """Drop the connection, if there is one."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
            self._statements.clear()
