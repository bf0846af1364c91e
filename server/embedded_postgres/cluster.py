"""The cluster's files: their creation, their owner, the access rules, the socket."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.embedded_postgres.accounts import Account, has_account, initdb_account, is_shared_account
from server.embedded_postgres.errors import EmbeddedServerError
from server.embedded_postgres.folders import exists, is_safe_path, read_small, subfolder
from server.embedded_postgres.ownership import CLUSTER, COPY, copy_cluster, replace_cluster
from server.embedded_postgres.process import last_lines, start_in, stop

#: The only role, which owns the database.
ROLE = "ide_orchestrator"
#: Only a part of the socket's name: no port is opened.
PORT = 5432

#: `sun_path` has 104 bytes on macOS, 108 on Linux, including the final NUL.
_MAX_SOCKET_PATH = 103
#: The socket's file in its folder.
SOCKET_NAME = f".s.PGSQL.{PORT}"
#: The cluster's folder, as its programs know it: they are started in it (launch.py).
WORKING_FOLDER = "/proc/self/cwd"
#: Where initdb works; renamed, or copied for another user, at its end.
_UNFINISHED = "postgres.new"


def folder_argument(cluster: Path) -> str:
    """The cluster's folder for the programs that run in it. Without /proc they must be able to reach it."""
    return WORKING_FOLDER if sys.platform == "linux" else str(cluster)


async def initialise(data: int, cluster: Path, account: Account, programs: Path, *, sync: bool) -> None:
    """Create the cluster under another name and rename it, so that an interrupted attempt leaves no cluster.

    data: the file descriptor of the data folder. sync: whether its files are flushed to the disk. Raises
    EmbeddedServerError.
    """
    shutil.rmtree(_UNFINISHED, ignore_errors=True, dir_fd=data)
    os.mkdir(_UNFINISHED, 0o700, dir_fd=data)
    try:
        maker = initdb_account(account)
        arguments = [f"--username={ROLE}", "--encoding=UTF8", "--locale=C"]
        arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--auth=peer", "--no-sync"]
        unfinished = cluster.with_name(_UNFINISHED)
        await _initdb(data, unfinished, maker, programs, arguments)
        made = _UNFINISHED
        if account.is_other:
            copy_cluster(data, _UNFINISHED, maker.uid, account)
            made = COPY
        if sync:
            await _initdb(data, cluster.with_name(made), account, programs, ["--sync-only"])
        os.rename(made, CLUSTER, src_dir_fd=data, dst_dir_fd=data)
    finally:
        shutil.rmtree(_UNFINISHED, ignore_errors=True, dir_fd=data)


async def take_over(
    data: int, cluster: Path, owner: int, account: Account, programs: Path, *, sync: bool
) -> None:
    """Give a cluster to the account by a copy. Raises EmbeddedServerError.

    owner: its present owner: `nobody` (earlier releases), root (a restored copy), or a number that somebody
    else has now. A person's cluster is not taken.
    """
    if owner != 0 and has_account(owner) and not is_shared_account(owner):
        raise EmbeddedServerError(
            f"the data in {cluster} belong to the user {owner}: run as that user, or set IDEO_DATA_DIR to "
            "another folder"
        )
    copy_cluster(data, CLUSTER, owner, account)
    if sync:
        await _initdb(data, cluster.with_name(COPY), account, programs, ["--sync-only"])
    replace_cluster(data)


async def _initdb(data: int, folder: Path, account: Account, programs: Path, arguments: list[str]) -> None:
    """Run initdb in a folder of the data folder. Raises EmbeddedServerError when it fails."""
    with subfolder(data, folder.name) as opened:
        if account.is_other:
            os.fchown(opened, account.uid, account.gid)
        with tempfile.TemporaryFile() as output:
            command = [str(programs / "initdb"), f"--pgdata={folder_argument(folder)}", *arguments]
            process = await start_in(opened, account, command, output=output.fileno())
            try:
                code = await process.wait()
            finally:
                # It ends its own server and removes what it made. SIGKILL would leave that server at work.
                await stop(process, signal.SIGTERM)
            if code != 0:
                output.seek(0)
                raise EmbeddedServerError(f"initdb failed: {last_lines(output.read())}")


async def check_cluster(data: int, cluster: Path, programs: Path) -> None:
    """Raises EmbeddedServerError when the folder is not a cluster, or another version's."""
    with subfolder(data, CLUSTER) as opened:
        try:
            version = read_small(opened, "PG_VERSION").strip()
        except FileNotFoundError:
            raise EmbeddedServerError(
                f"{cluster} is not a complete PostgreSQL data folder: remove it, or set IDEO_DATA_DIR to "
                "another"
            ) from None
    asked = await asyncio.create_subprocess_exec(
        str(programs / "postgres"), "--version", stdout=asyncio.subprocess.PIPE, env={"LC_ALL": "C"}
    )
    answer = (await asked.communicate())[0].decode()
    ours = re.search(r"[0-9]+", answer)
    if ours is not None and version != ours[0]:
        raise EmbeddedServerError(
            f"the data in {cluster} are those of PostgreSQL {version[:20]}, and this is {ours[0]}: set "
            "IDEO_DATA_DIR to another folder, or move them with pg_dump of that version"
        )


def owner_of(data: int) -> int | None:
    """The uid of the cluster's owner; None without a cluster. Raises OSError when it is not a folder."""
    if not exists(data, CLUSTER):
        return None
    with subfolder(data, CLUSTER) as cluster:
        return os.fstat(cluster).st_uid


def prepared_files(account: Account) -> dict[str, str | None]:
    """What is written and removed in the cluster before each start.

    Only one user of the operating system is admitted, identified by the kernel, without a password. A killed
    server's pid file and socket go: PostgreSQL refuses to start while any process has the pid in the file,
    even an unrelated one or a zombie, and `server.lock` is more reliable.
    """
    return {
        "pg_hba.conf": "local all all peer map=hub\n",
        "pg_ident.conf": f'hub "{account.client}" {ROLE}\n',
        "postmaster.pid": None,
        SOCKET_NAME: None,
        f"{SOCKET_NAME}.lock": None,
    }


@contextmanager
def socket_folder(cluster: Path, account: Account) -> Iterator[Path]:
    """The folder of the server's socket: the cluster's own, or a temporary one.

    The temporary one is for a path that is too long for a socket, has a character that separates hosts or
    ports in a DSN, or could be changed by another user, who could then offer a socket there.
    """
    plain = not set(str(cluster)) & set(",:")
    if plain and len(os.fsencode(cluster / SOCKET_NAME)) <= _MAX_SOCKET_PATH and is_safe_path(cluster.parent):
        yield cluster
        return
    short = Path(tempfile.mkdtemp(prefix="ideo-"))
    if len(os.fsencode(short / SOCKET_NAME)) > _MAX_SOCKET_PATH or not is_safe_path(short):
        short.rmdir()
        short = Path(tempfile.mkdtemp(prefix="ideo-", dir="/tmp"))
    try:
        if account.is_other:
            os.chown(short, account.uid, account.gid, follow_symlinks=False)
        yield short
    finally:
        shutil.rmtree(short, ignore_errors=True)
