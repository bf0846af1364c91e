"""A PostgreSQL server for the tests, and fresh databases made from a migrated template."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from server.db import migrate
from server.embedded_postgres.server import DATABASE, embedded

#: Tests make many databases and keep none: no waiting for the disk.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}


class Postgres:
    """A running server. `admin_dsn` is a database that no test uses."""

    def __init__(self, admin_dsn: str, template: str) -> None:
        self.admin_dsn = admin_dsn
        self._template = template
        self._numbers = itertools.count(1)

    def dsn(self, database: str) -> str:
        """The address of another database of the server."""
        return urlunsplit(urlsplit(self.admin_dsn)._replace(path=f"/{database}"))

    async def execute(self, statement: str) -> None:
        """Run a statement that needs a session of its own."""
        connection = await asyncpg.connect(self.admin_dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    @asynccontextmanager
    async def fresh(self, *, migrated: bool) -> AsyncIterator[str]:
        """The DSN of a new database, dropped afterwards with whatever still uses it."""
        name = f"test_{next(self._numbers)}"
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {self._template if migrated else 'template0'}")
        try:
            yield self.dsn(name)
        finally:
            await self.execute(f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def running_postgres(data_dir: Path) -> AsyncIterator[Postgres]:
    """A server on `data_dir`, with the template in place."""
    async with embedded(data_dir, settings=FAST) as admin_dsn:
        server = Postgres(admin_dsn, DATABASE + "_template")
        await server.execute(f"CREATE DATABASE {server._template}")
        await migrate.up(server.dsn(server._template))
        yield server
