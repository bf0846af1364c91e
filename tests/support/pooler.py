"""A real pgbouncer in transaction mode in front of a test's database."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.support.hand_clock import retried
from tests.support.postgres import DATABASE_ERRORS, socket_of
from tests.support.programs import started
from tests.support.proxy import proxy
from tests.support.servers import free_port

_CONFIGURATION = """
[databases]
* = host={folder} port=5432 user={role}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 200
logfile =
pidfile =
"""


@asynccontextmanager
async def pooler(dsn: str, *, size: int = 4) -> AsyncIterator[str]:
    """The DSN of the same database through pgbouncer with `size` server connections; skips the test
    where pgbouncer is not installed.

    pgbouncer does not run as root, and the test server lets in only who runs the tests: a proxy on a
    Unix socket is between them.
    """
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("no pgbouncer: install the package pgbouncer")
    parts, port = urlsplit(dsn), free_port()
    with tempfile.TemporaryDirectory(prefix="ideo-pooler-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        way = folder / ".s.PGSQL.5432"
        configuration = folder / "pgbouncer.ini"
        configuration.write_text(
            _CONFIGURATION.format(folder=folder, role=parts.username, port=port, size=size)
        )
        async with proxy(socket_of(dsn), at=way):
            way.chmod(0o777)
            as_nobody = ["-u", "nobody"] if os.geteuid() == 0 else []
            async with started(program, "-q", *as_nobody, str(configuration), environment={}):
                pooled = f"postgresql://{parts.username}@127.0.0.1:{port}{parts.path}"
                connection = await retried(
                    lambda: asyncpg.connect(pooled, statement_cache_size=0, timeout=20), *DATABASE_ERRORS
                )
                await connection.close()
                yield pooled
