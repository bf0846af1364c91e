"""The embedded PostgreSQL: a real server from a wheel, for `ideo dev` and the tests (ADR 0002).

The data folder has `postgres/` (the cluster), `postgres.log` and two lock files:

- `owner.lock` is held by the process that uses the folder; any other process is refused.
- `server.lock` is inherited by the server and all its children: a process that gets it knows that no server
  runs on the cluster, even when there is a `postmaster.pid`.
"""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import asyncpg

from server.embedded_postgres.accounts import Account, server_account
from server.embedded_postgres.cluster import (
    PORT,
    ROLE,
    SOCKET_NAME,
    WORKING_FOLDER,
    check_cluster,
    folder_argument,
    initialise,
    owner_of,
    prepared_files,
    socket_folder,
    take_over,
)
from server.embedded_postgres.errors import EmbeddedServerError, folder_errors
from server.embedded_postgres.folders import exists, opened_folder, own_file, read_small, subfolder
from server.embedded_postgres.locks import owner_lock, take_server_lock
from server.embedded_postgres.ownership import CLUSTER, finish_replacement
from server.embedded_postgres.process import last_lines, start_in, stop
from server.embedded_postgres.programs import program_folder

#: The hub's database.
DATABASE = "ide_orchestrator"

START_TIMEOUT_S = 60.0
_POLL_S = 0.02
#: Bytes of the log's end that are looked at when the server does not start.
_LOG_BYTES = 4096

#: The log must contain neither statements nor rows: they hold prompts and files.
_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}


@asynccontextmanager
async def embedded(
    data_dir: Path, *, settings: Mapping[str, str] | None = None, sync: bool = True
) -> AsyncIterator[str]:
    """Run the server on `data_dir`, which is created when it is missing; yields the DSN of its database.

    The DSN is `postgresql://ROLE@/DATABASE?host=SOCKET_FOLDER&port=5432`. Only the operating system's user of
    this process may connect. The server stops with a checkpoint when the block ends, and on Linux also when
    this process ends in any way. Enter the block in the main thread: the kernel watches that thread.

    settings: more settings of PostgreSQL. sync: whether a new cluster is flushed to the disk before it is
    used. Raises EmbeddedServerError.
    """
    with ExitStack() as stack:
        with folder_errors(data_dir):
            data_dir = _absolute(data_dir)
            cluster = data_dir / CLUSTER
            data = stack.enter_context(opened_folder(data_dir, create=True))
            stack.enter_context(owner_lock(data, data_dir))
            lock = stack.enter_context(own_file(data, "server.lock", os.O_RDONLY))
            await take_server_lock(lock, data, data_dir)
            account, programs = await _prepare(data, cluster, sync=sync)
            socket_dir = stack.enter_context(socket_folder(cluster, account))
            quoted = folder_argument(cluster) if socket_dir == cluster else str(socket_dir)
            options = {**_SETTINGS, **(settings or {})}
            options["unix_socket_directories"] = '"' + quoted.replace('"', '""') + '"'
            log = stack.enter_context(own_file(data, "postgres.log", os.O_RDWR))
            process = await _launch(data, cluster, account, programs, options, lock=lock, log=log)
        try:
            await _until_ready(process, data, log)
            yield await _with_database(socket_dir)
        finally:
            # Fast, with a checkpoint; when that takes too long, immediately, which loses no data.
            await stop(process, signal.SIGINT, signal.SIGQUIT)


def check_unused(data_dir: Path) -> None:
    """Raises EmbeddedServerError for a folder that another process uses. Makes nothing."""
    data_dir = _absolute(data_dir)
    with suppress(OSError), opened_folder(data_dir) as data:
        if exists(data, "owner.lock"):
            with owner_lock(data, data_dir):
                return


def running_dsn(data_dir: Path) -> str | None:
    """The DSN of the server that another process runs on the folder; None when none accepts connections."""
    data_dir = _absolute(data_dir)
    with suppress(OSError, EmbeddedServerError), opened_folder(data_dir) as data:
        lines = _pid_file(data)
        # Line 5 is the folder of the socket, line 8 the status.
        if len(lines) > 7 and lines[7].strip() == "ready":
            folder = data_dir / CLUSTER if lines[4] == WORKING_FOLDER else Path(lines[4])
            if (folder / SOCKET_NAME).exists():
                return dsn_of(folder, DATABASE)
    return None


def dsn_of(socket_dir: Path, database: str) -> str:
    """The address of a database of the server whose socket is in the folder."""
    host = quote(str(socket_dir), safe="")
    return f"postgresql://{ROLE}@/{quote(database, safe='')}?host={host}&port={PORT}"


def _absolute(data_dir: Path) -> Path:
    return data_dir.expanduser().absolute()


async def _prepare(data: int, cluster: Path, *, sync: bool) -> tuple[Account, Path]:
    """Make sure that there is a cluster, owned by the server's user. Returns the user and its programs."""
    finish_replacement(data)
    owner = owner_of(data)
    account = server_account(owner)
    programs = program_folder(account)
    if owner is None:
        await initialise(data, cluster, account, programs, sync=sync)
        return account, programs
    await check_cluster(data, cluster, programs)
    if owner != account.uid:
        await take_over(data, cluster, owner, account, programs, sync=sync)
    return account, programs


async def _launch(
    data: int,
    cluster: Path,
    account: Account,
    programs: Path,
    options: Mapping[str, str],
    *,
    lock: int,
    log: int,
) -> Process:
    """Start the server, which inherits the lock; it may not be ready yet. `lock`, `log`: file descriptors."""
    arguments = [str(programs / "postgres"), "-D", folder_argument(cluster)]
    for name, value in options.items():
        arguments += ["-c", f"{name}={value}"]
    os.ftruncate(log, 0)
    with subfolder(data, CLUSTER) as folder:
        files = prepared_files(account)
        return await start_in(folder, account, arguments, output=log, fds=[lock], files=files)


def _pid_file(data: int) -> list[str]:
    """The lines of the server's pid file; empty when there is none."""
    with suppress(OSError, ValueError), subfolder(data, CLUSTER) as folder:
        return read_small(folder, "postmaster.pid").split("\n")
    return []


async def _until_ready(process: Process, data: int, log: int) -> None:
    """Wait until the server's pid file says that it accepts connections. Raises EmbeddedServerError."""
    deadline = asyncio.get_running_loop().time() + START_TIMEOUT_S
    while True:
        lines = _pid_file(data)
        # The launcher removes the pid file of an earlier server, which names another process.
        if len(lines) > 7 and lines[0] == str(process.pid) and lines[7].strip() == "ready":
            return
        if process.returncode is not None or asyncio.get_running_loop().time() > deadline:
            said = os.pread(log, _LOG_BYTES, max(0, os.fstat(log).st_size - _LOG_BYTES))
            raise EmbeddedServerError(f"the embedded PostgreSQL did not start: {last_lines(said)}")
        await asyncio.sleep(_POLL_S)


async def _with_database(socket_dir: Path) -> str:
    """The DSN of the hub's database, which is created when it is missing."""
    try:
        connection = await asyncpg.connect(dsn_of(socket_dir, "postgres"), timeout=START_TIMEOUT_S)
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise EmbeddedServerError(
            f"the embedded PostgreSQL does not work ({type(error).__name__}): is {socket_dir} the hub's own, "
            "and is there room on its disk?"
        ) from error
    return dsn_of(socket_dir, DATABASE)
