"""The embedded PostgreSQL: a real server from a wheel, for `ideo dev` and the tests (ADR 0002).

The data folder has `postgres/` (the cluster), `postgres.log`, the access rules and two lock files:

- `owner.lock` is held by the process that uses the folder; any other process is refused.
- `server.lock` is inherited by the server and all its children: a process that gets it knows that no server
  runs on the cluster, even when there is a `postmaster.pid`.
"""

from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import asyncpg

from server.embedded_postgres.cluster import (
    PORT,
    ROLE,
    SOCKET_NAME,
    check_cluster,
    initialise,
    remove_leftovers,
    socket_folder,
    write_access_rules,
)
from server.embedded_postgres.locks import STOP_TIMEOUT_S, owner_lock, take_server_lock
from server.embedded_postgres.process import (
    Account,
    EmbeddedServerError,
    account_for,
    folder_errors,
    last_lines,
    start_program,
)

#: The hub's database.
DATABASE = "ide_orchestrator"

START_TIMEOUT_S = 60.0
_POLL_S = 0.02

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
    data_dir = _created(data_dir)
    cluster = data_dir / "postgres"
    with ExitStack() as stack:
        with folder_errors(data_dir):
            stack.enter_context(owner_lock(data_dir))
            lock = stack.enter_context((data_dir / "server.lock").open("ab")).fileno()
            await take_server_lock(lock, data_dir)
            account = account_for(cluster)
            if cluster.exists():
                await check_cluster(cluster)
            else:
                await initialise(cluster, account, sync=sync)
            remove_leftovers(cluster)
            socket_dir = stack.enter_context(socket_folder(cluster, account))
            quoted = str(socket_dir).replace('"', '""')
            options = {**_SETTINGS, **(settings or {}), **write_access_rules(data_dir, account)}
            options["unix_socket_directories"] = f'"{quoted}"'
            process = await _launch(data_dir, account, lock, options)
        try:
            await _until_ready(process, data_dir)
            yield await _with_database(socket_dir)
        finally:
            await _stop(process)


def running_dsn(data_dir: Path) -> str | None:
    """The DSN of the server that another process runs on the folder; None when none accepts connections."""
    cluster = data_dir.expanduser().absolute() / "postgres"
    with suppress(OSError, IndexError):
        lines = (cluster / "postmaster.pid").read_text().split("\n")
        # Line 5 is the folder of the socket, line 8 the status.
        if lines[7].strip() == "ready" and (Path(lines[4]) / SOCKET_NAME).exists():
            return dsn_of(Path(lines[4]), DATABASE)
    return None


def _created(data_dir: Path) -> Path:
    """The absolute path of the folder, which is created when it is missing. Raises EmbeddedServerError."""
    with folder_errors(data_dir):
        absolute = data_dir.expanduser().absolute()
        absolute.mkdir(parents=True, exist_ok=True)
        return absolute


def dsn_of(socket_dir: Path, database: str) -> str:
    """The address of a database of the server whose socket is in the folder."""
    host = quote(str(socket_dir), safe="")
    return f"postgresql://{ROLE}@/{quote(database, safe='')}?host={host}&port={PORT}"


async def _launch(data_dir: Path, account: Account, lock: int, options: Mapping[str, str]) -> Process:
    """Start the server, which inherits the lock; it may not be ready yet."""
    arguments = ["-D", str(data_dir / "postgres")]
    for name, value in options.items():
        arguments += ["-c", f"{name}={value}"]
    with (data_dir / "postgres.log").open("wb") as log:
        return await start_program(account, "postgres", arguments, log.fileno(), lock)


async def _until_ready(process: Process, data_dir: Path) -> None:
    """Wait until the server's pid file says that it accepts connections. Raises EmbeddedServerError."""
    deadline = asyncio.get_running_loop().time() + START_TIMEOUT_S
    while True:
        with suppress(FileNotFoundError, IndexError):
            lines = (data_dir / "postgres" / "postmaster.pid").read_text().split("\n")
            if lines[7].strip() == "ready":
                return
        if process.returncode is not None or asyncio.get_running_loop().time() > deadline:
            log = (data_dir / "postgres.log").read_bytes()
            raise EmbeddedServerError(f"the embedded PostgreSQL did not start: {last_lines(log)}")
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


async def _stop(process: Process) -> None:
    """Shut down fast, with a checkpoint; when that takes too long, immediately, which loses no data."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        if process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(number)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
