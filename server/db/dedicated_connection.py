"""The connection that the writer of the journal keeps for itself.

Taking a connection from the pool for each commit, and giving it back, would cost a timer and several turns of
the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg

from server.db.pipeline import Outcome, Pipeline
from server.db.pool import BoundedPool


class DedicatedConnection:
    """A connection outside the pool for one task, made when it is needed; made again after a failure.

    A connection on which a statement failed is dropped, whatever the server still does with it: nobody
    waits for an answer that may never come. Like those of the pool, it is replaced when another one was lost
    and none has been answered since. timeout_s: for each statement.
    """

    def __init__(self, pool: BoundedPool, *, timeout_s: float) -> None:
        self._pool, self._timeout_s = pool, timeout_s
        self._connection: asyncpg.Connection | None = None
        self._pipeline: Pipeline | None = None
        #: The statements that are prepared on it. The driver's cache of them costs more to ask.
        self._statements: dict[str, asyncpg.prepared_stmt.PreparedStatement] = {}
        #: The pool's generation when the connection was made.
        self._generation = 0

    async def fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        """The rows of a statement. Raises as asyncpg does."""
        began_at = asyncio.get_running_loop().time()
        try:
            connection, pipeline = await self._usable()
            pipeline.hand_back()
            if self._pool.pooled:
                rows = await connection.fetch(query, *args, timeout=self._timeout_s)
            else:
                statement = self._statements.get(query)
                if statement is None:
                    statement = await connection.prepare(query, timeout=self._timeout_s)
                    self._statements[query] = statement
                rows = await statement.fetch(*args, timeout=self._timeout_s)
        except BaseException:
            await self._on_lost(began_at)
            raise
        self._pool.on_answered()
        return rows  # type: ignore[no-any-return]

    async def insert(self, query: str, executions: list[bytes]) -> list[int]:
        """As `Pipeline.insert`. Not through a pooler. Raises as asyncpg does."""
        began_at = asyncio.get_running_loop().time()
        try:
            _, pipeline = await self._usable()
            counts = await pipeline.insert(query, executions)
        except BaseException:
            await self._on_lost(began_at)
            raise
        self._pool.on_answered()
        return counts

    def send(self, query: str, executions: list[bytes], on_outcome: Callable[[Outcome], None]) -> bool:
        """As `Pipeline.send`, if the connection may still work. Returns whether it was sent; then await
        `on_failed` after an error."""
        pipeline = self._pipeline
        if pipeline is None or self._generation != self._pool.generation:
            return False
        return pipeline.send(query, executions, on_outcome)

    async def _usable(self) -> tuple[asyncpg.Connection, Pipeline]:
        """A connection that may still work, and its pipeline."""
        connection, pipeline = self._connection, self._pipeline
        if connection is None or pipeline is None or self._is_old(connection):
            self.close()
            self._generation = self._pool.generation
            connection = self._connection = await self._pool.connect()
            pipeline = self._pipeline = Pipeline(connection, timeout_s=self._timeout_s)
        return connection, pipeline

    def _is_old(self, connection: asyncpg.Connection) -> bool:
        return bool(self._generation != self._pool.generation or connection.is_closed())

    async def on_failed(self) -> None:
        """Drop the connection: what was sent last has failed."""
        if self._pipeline is not None:
            await self._on_lost(self._pipeline.sent_at)

    async def _on_lost(self, began_at: float) -> None:
        if self._connection is not None:
            self.close()
            await self._pool.on_lost(began_at)

    def close(self) -> None:
        """Drop the connection, if there is one."""
        if self._pipeline is not None:
            self._pipeline.close()
            self._pipeline = None
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
            self._statements.clear()
