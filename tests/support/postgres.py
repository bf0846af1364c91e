"""A PostgreSQL server for tests, which may be stopped and started again, and fresh databases made from a
migrated template.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit

import asyncpg

from server.db import migrate
from server.embedded_postgres.server import DATABASE, embedded

#: Tests make many databases and keep none: no waiting for the disk.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}
#: What a client gets of a server that is away.
DATABASE_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_TEMPLATE = f"{DATABASE}_template"


def socket_of(dsn: str) -> Path:
    """The Unix socket of a DSN's server."""
    return Path(parse_qs(urlsplit(dsn).query)["host"][0]) / ".s.PGSQL.5432"


class Postgres:
    """A server on a folder. `admin_dsn`: a database that no test uses."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self._folder, self._settings = folder, settings
        self._snapshot = folder.with_name(f"{folder.name}-snapshot")
        self._stack = AsyncExitStack()
        self._numbers = itertools.count(1)
        self.admin_dsn = ""

    @property
    def socket(self) -> Path:
        """Its socket; the same after each start."""
        return socket_of(self.admin_dsn)

    async def start(self) -> None:
        """Start it, or start it again."""
        self.admin_dsn = await self._stack.enter_async_context(
            embedded(self._folder, settings=self._settings)
        )

    async def stop(self, *, immediate: bool = False) -> None:
        """Stop it; immediate: as a crash, without a checkpoint."""
        if immediate:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid(), signal.SIGQUIT)
        await self._stack.aclose()

    def _pid(self) -> int:
        return int((self._folder / "postgres" / "postmaster.pid").read_text().split("\n")[0])

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop all of its processes for a block: connections stay open, and nothing is answered."""
        server = self._pid()
        stopped = [server]
        os.kill(server, signal.SIGSTOP)
        try:
            # It makes no more of them now (Linux).
            for child in Path(f"/proc/{server}/task/{server}/children").read_text().split():
                stopped.append(int(child))
                os.kill(int(child), signal.SIGSTOP)
            yield
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)

    def snapshot(self) -> None:
        """Keep its files as they are at this moment."""
        with self.paused():
            shutil.rmtree(self._snapshot, ignore_errors=True)
            subprocess.run(["cp", "-a", self._folder / "postgres", self._snapshot], check=True)

    async def lose_commits(self) -> None:
        """Crash it, and start it again as it was at the time of the snapshot, after its own recovery."""
        await self.stop(immediate=True)
        shutil.rmtree(self._folder / "postgres")
        self._snapshot.rename(self._folder / "postgres")
        await self.start()

    async def kill_backends(self) -> int:
        """Kill every other connection; how many there were."""
        return len(
            await self.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
        )

    async def fetch(self, statement: str) -> list[asyncpg.Record]:
        """Run a statement as the administrator, in a session of its own."""
        connection = await asyncpg.connect(self.admin_dsn)
        try:
            found: list[asyncpg.Record] = await connection.fetch(statement)
            return found
        finally:
            await connection.close()

    def dsn(self, database: str, *, replica: str = "", socket_dir: Path | None = None) -> str:
        """The address of a database; `replica`: the value of its setting ideo.replica; `socket_dir`: the
        folder of another socket that leads there."""
        parts = urlsplit(self.admin_dsn)
        query = parts.query
        if socket_dir is not None:
            query = f"host={quote(str(socket_dir), safe='')}&port=5432"
        if replica:
            query += f"&options={quote(f'-c ideo.replica={replica}', safe='')}"
        return urlunsplit(parts._replace(path=f"/{database}", query=query))

    async def set_default_isolation(self, dsn: str, level: str) -> None:
        """Set the isolation level with which transactions of a database begin from now on."""
        name = urlsplit(dsn).path[1:]
        await self.fetch(f"ALTER DATABASE {name} SET default_transaction_isolation TO '{level}'")

    async def make_template(self, more: str = "") -> None:
        """Make the database that migrated ones are copied from; `more`: SQL to run in it."""
        await self.fetch(f"CREATE DATABASE {_TEMPLATE}")
        await migrate.up(self.dsn(_TEMPLATE))
        if more:
            connection = await asyncpg.connect(self.dsn(_TEMPLATE))
            await connection.execute(more)
            await connection.close()

    @asynccontextmanager
    async def fresh(self, *, migrated: bool, copy_of: str = "") -> AsyncIterator[str]:
        """The DSN of a new database, dropped afterwards with whatever still uses it. `copy_of`: the DSN of
        one that nobody uses, to begin with what is in it."""
        name = f"test_{next(self._numbers)}"
        template = urlsplit(copy_of).path[1:] or (_TEMPLATE if migrated else "template0")
        await self.fetch(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        try:
            yield self.dsn(name)
        finally:
            await self.fetch(f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def running_postgres(
    folder: Path, settings: Mapping[str, str] = FAST, *, more: str = ""
) -> AsyncIterator[Postgres]:
    """A server on a folder, with the template in place. The folder goes with it: pytest keeps those of its
    last sessions, and a server has 70 MB in each."""
    server = Postgres(folder, settings)
    try:
        await server.start()
        await server.make_template(more)
        yield server
    finally:
        await server.stop()
        shutil.rmtree(folder, ignore_errors=True)
