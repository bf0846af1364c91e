"""Piccolo's engine, on connections that the stores own (ADR 0003).

Piccolo binds one engine to a table class, so to the process, and that engine opens its own connections.
This one opens none: a query runs on the connection that its task is using. Piccolo's queries therefore share
the pool and the transactions of the stores' SQL, and one process can use several databases.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg
from piccolo.engine.postgres import PostgresEngine

from server.db.errors import database_errors
from server.db.pool import USE_S


class NoConnection(RuntimeError):
    """A Piccolo query ran outside `BorrowedConnectionEngine.using`."""


class _Borrowed:
    """The part of a Piccolo transaction that its queries read."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection


class BorrowedConnectionEngine(PostgresEngine):
    """Runs Piccolo's queries on a connection that the task has acquired."""

    def __init__(self) -> None:
        super().__init__(config={})

    async def check_version(self) -> None:
        """Do nothing: Piccolo would open a connection to ask for the server's version."""

    async def get_new_connection(self) -> Any:
        """Raise NoConnection: the engine has no address to connect to."""
        raise NoConnection("run Piccolo queries inside `with ENGINE.using(connection)`")

    @contextmanager
    def using(self, connection: Any) -> Iterator[None]:
        """Run this task's Piccolo queries on an asyncpg connection."""
        token = self.current_transaction.set(_Borrowed(connection))  # type: ignore[arg-type]
        try:
            yield
        finally:
            self.current_transaction.reset(token)


#: The engine of every table class. Its only state is the connection of each task.
ENGINE = BorrowedConnectionEngine()


@asynccontextmanager
async def piccolo_connection(pool: asyncpg.Pool, *, limit_s: float = USE_S) -> AsyncIterator[Any]:
    """A connection of the pool, for Piccolo's queries and for SQL, within `limit_s`.

    Raises DatabaseUnavailable.
    """
    with database_errors():
        async with pool.acquire(limit_s=limit_s) as connection:
            with ENGINE.using(connection):
                yield connection
