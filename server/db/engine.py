"""Piccolo's engine over connections that somebody else opens (ADR 0003).

Piccolo binds an engine to a table class, which makes it one engine a process. This one has no
connection of its own: a query runs on the connection that its task has lent. So every store keeps
its own pool, several stores can live in one process, and a query can join any transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from piccolo.engine.postgres import PostgresEngine


class NoConnection(RuntimeError):
    """A Piccolo query ran outside `BorrowedConnectionEngine.on`."""


class _Lent:
    """What Piccolo looks for in a transaction: its connection."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection


class BorrowedConnectionEngine(PostgresEngine):
    """Runs Piccolo queries on the connection that the task has lent with `on`."""

    def __init__(self) -> None:
        super().__init__(config={})

    async def check_version(self) -> None:
        """Do not connect: Piccolo would open a connection at once, to ask for the version."""

    async def get_new_connection(self) -> Any:
        """Raise NoConnection: there is no address to connect to."""
        raise NoConnection("run Piccolo queries inside `with ENGINE.on(connection)`")

    @contextmanager
    def on(self, connection: Any) -> Iterator[None]:
        """Run this task's Piccolo queries on an asyncpg connection."""
        token = self.current_transaction.set(_Lent(connection))  # type: ignore[arg-type]
        try:
            yield
        finally:
            self.current_transaction.reset(token)


#: The engine of every table class. It holds no state but the task's loan.
ENGINE = BorrowedConnectionEngine()
