"""A PostgreSQL of the rig's own, to be stopped, killed and started again under the hubs, whose databases
keep a record of every change of a run's row: who wrote, and what stood there before.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit

import asyncpg

from server.db import migrate
from server.embedded_postgres.server import DATABASE, embedded

#: No waiting for the disk: the machine does not lose power here. Commits are commits all the same: a
#: killed server must know them.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "on",
    "max_connections": "400",
    "shared_buffers": "64MB",
}

_RECORD = """
CREATE TABLE rig_writes (
  id bigserial PRIMARY KEY, thread_id uuid, writer text, owner_before text, owner_after text,
  fence_before bigint, fence_after bigint, last_before int, last_after int, status_before text,
  status_after text
);
CREATE FUNCTION rig_note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO rig_writes VALUES (
    DEFAULT, NEW.thread_id, coalesce(current_setting('ideo.replica', true), ''),
    coalesce(OLD.owner, ''), coalesce(NEW.owner, ''), OLD.fence, NEW.fence, OLD.last_seq, NEW.last_seq,
    OLD.status, NEW.status);
  RETURN NULL;
END $$;
CREATE TRIGGER rig_note AFTER UPDATE ON runs FOR EACH ROW EXECUTE FUNCTION rig_note();
"""


class Database:
    """The server. `socket` is its Unix socket."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = AsyncExitStack()
        self._numbers = itertools.count(1)
        self._admin_dsn = ""

    @property
    def socket(self) -> Path:
        """The server's socket; the same after each start."""
        host = parse_qs(urlsplit(self._admin_dsn).query)["host"][0]
        return Path(host) / ".s.PGSQL.5432"

    async def start(self) -> None:
        """Start it, or start it again."""
        self._admin_dsn = await self._stack.enter_async_context(embedded(self._folder, settings=_SETTINGS))

    async def stop(self, *, immediate: bool) -> None:
        """Stop it; immediate: as a crash, without a checkpoint."""
        if immediate:
            pid = int((self._folder / "postgres" / "postmaster.pid").read_text().split("\n")[0])
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGQUIT)
        await self._stack.aclose()

    async def kill_backends(self) -> int:
        """Kill every connection of every hub; how many there were."""
        return len(
            await self.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
        )

    async def fetch(self, statement: str) -> list[asyncpg.Record]:
        """Run a statement as the administrator."""
        connection = await asyncpg.connect(self._admin_dsn)
        try:
            found: list[asyncpg.Record] = await connection.fetch(statement)
            return found
        finally:
            await connection.close()

    def dsn(self, name: str, *, writer: str = "", socket_dir: Path | None = None) -> str:
        """The address of a database, for one that writes under a name; by way of another socket."""
        parts = urlsplit(self._admin_dsn)
        query = parts.query
        if socket_dir is not None:
            query = f"host={quote(str(socket_dir), safe='')}&port=5432"
        if writer:
            query += f"&options={quote(f'-c ideo.replica={writer}', safe='')}"
        return urlunsplit(parts._replace(path=f"/{name}", query=query))

    async def make_template(self) -> None:
        """The database that fresh ones are copied from."""
        await self.fetch(f"CREATE DATABASE {DATABASE}_rig")
        dsn = self.dsn(f"{DATABASE}_rig")
        await migrate.up(dsn)
        connection = await asyncpg.connect(dsn)
        await connection.execute(_RECORD)
        await connection.close()

    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[str]:
        """The name of a new database, dropped afterwards with whatever still uses it."""
        name = f"rig_{next(self._numbers)}"
        await self.fetch(f"CREATE DATABASE {name} TEMPLATE {DATABASE}_rig")
        try:
            yield name
        finally:
            await self.fetch(f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def rig_database() -> AsyncIterator[Database]:
    """A running server in a folder of its own, with a short name: it holds the socket."""
    folder = Path(tempfile.mkdtemp(prefix="rig-", dir="/tmp"))
    folder.chmod(0o755)
    database = Database(folder)
    try:
        await database.start()
        await database.make_template()
        yield database
    finally:
        await database.stop(immediate=True)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
