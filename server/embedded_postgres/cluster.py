"""The cluster's files: their creation, the leftovers of a killed server, the access rules, the socket."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.embedded_postgres.process import Account, EmbeddedServerError, last_lines, program, start_program

#: The only role, which owns the database.
ROLE = "ide_orchestrator"
#: Only a part of the socket's name: no port is opened.
PORT = 5432

#: `sun_path` has 104 bytes on macOS, 108 on Linux, including the final NUL.
_MAX_SOCKET_PATH = 103
#: The socket's file in its folder.
SOCKET_NAME = f".s.PGSQL.{PORT}"


async def initialise(cluster: Path, account: Account, *, sync: bool) -> None:
    """Create the cluster under another name and rename it, so that an interrupted attempt leaves no cluster.

    sync: whether its files are flushed to the disk. Raises EmbeddedServerError.
    """
    unfinished = cluster.with_name("postgres.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    account.own(unfinished)
    with tempfile.TemporaryFile() as output:
        arguments = [f"--pgdata={unfinished}", f"--username={ROLE}", "--encoding=UTF8", "--locale=C"]
        arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--auth=peer"]
        arguments += [] if sync else ["--no-sync"]
        process = await start_program(account, "initdb", arguments, output.fileno())
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if code != 0:
            output.seek(0)
            raise EmbeddedServerError(f"initdb failed: {last_lines(output.read())}")
    unfinished.rename(cluster)


async def check_cluster(cluster: Path) -> None:
    """Raises EmbeddedServerError when the folder is not a cluster, or another version's."""
    try:
        version = (cluster / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        raise EmbeddedServerError(
            f"{cluster} is not a complete PostgreSQL data folder: remove it, or set IDEO_DATA_DIR to another"
        ) from None
    asked = await asyncio.create_subprocess_exec(
        program("postgres"), "--version", stdout=asyncio.subprocess.PIPE, env={"LC_ALL": "C"}
    )
    answer = (await asked.communicate())[0].decode()
    ours = re.search(r"[0-9]+", answer)
    if ours is not None and version != ours[0]:
        raise EmbeddedServerError(
            f"the data in {cluster} are those of PostgreSQL {version[:20]}, and this is {ours[0]}: set "
            "IDEO_DATA_DIR to another folder, or move them with pg_dump of that version"
        )


def remove_leftovers(cluster: Path) -> None:
    """Remove a killed server's pid file and socket.

    PostgreSQL refuses to start while any process has the pid in the file, even an unrelated one or a zombie.
    `server.lock` is more reliable.
    """
    for name in ("postmaster.pid", SOCKET_NAME, f"{SOCKET_NAME}.lock"):
        (cluster / name).unlink(missing_ok=True)


def write_access_rules(data_dir: Path, account: Account) -> dict[str, str]:
    """Admit only one user of the operating system, identified by the kernel, without a password.

    The files are in the data folder, which the server's user cannot change: root must not write into the
    cluster's folder. Returns the settings of PostgreSQL that name them.
    """
    rules = {
        "hba_file": (data_dir / "pg_hba.conf", "local all all peer map=hub\n"),
        "ident_file": (data_dir / "pg_ident.conf", f'hub "{account.client}" {ROLE}\n'),
    }
    for path, text in rules.values():
        path.write_text(text)
        path.chmod(0o644)
    return {setting: str(path) for setting, (path, _) in rules.items()}


@contextmanager
def socket_folder(cluster: Path, account: Account) -> Iterator[Path]:
    """The folder of the server's socket: the cluster's own, or a temporary one.

    The temporary one is for a path that is too long for a socket, or has a character that separates hosts
    or ports in a DSN.
    """
    plain = not set(str(cluster)) & set(",:")
    if plain and len(os.fsencode(cluster / SOCKET_NAME)) <= _MAX_SOCKET_PATH:
        yield cluster
        return
    short = Path(tempfile.mkdtemp(prefix="ideo-"))
    if len(os.fsencode(short / SOCKET_NAME)) > _MAX_SOCKET_PATH:
        short.rmdir()
        short = Path(tempfile.mkdtemp(prefix="ideo-", dir="/tmp"))
    try:
        account.own(short)
        yield short
    finally:
        shutil.rmtree(short, ignore_errors=True)
