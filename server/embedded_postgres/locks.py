"""The lock files of a data folder, which ensure that it has one user and its cluster one server."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from server.embedded_postgres.accounts import Account
from server.embedded_postgres.errors import EmbeddedServerError
from server.embedded_postgres.folders import own_file, subfolder
from server.embedded_postgres.ownership import CLUSTER
from server.embedded_postgres.process import STOP_TIMEOUT_S, start_in

_POLL_S = 0.02
#: Seconds between two signals: a server that is starting has no pid file yet.
_SIGNAL_S = 1.0


@contextmanager
def owner_lock(data: int, data_dir: Path) -> Iterator[None]:
    """Hold `owner.lock` for this process; `data` is the data folder's file descriptor.

    Raises EmbeddedServerError when another process holds it.
    """
    with own_file(data, "owner.lock", os.O_RDONLY) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmbeddedServerError(
                f"another process uses the embedded PostgreSQL in {data_dir}: stop it, or "
                "set IDEO_DATA_DIR to another folder"
            ) from None
        yield


async def take_server_lock(lock: int, data: int, data_dir: Path) -> None:
    """Take `server.lock` by its file descriptor. If a killed process's server holds it, stop that server.

    Raises EmbeddedServerError when the old server does not stop.
    """
    now = asyncio.get_running_loop().time
    next_signal, deadline = now(), now() + STOP_TIMEOUT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if now() > deadline:
                raise EmbeddedServerError(f"an old PostgreSQL in {data_dir} does not stop") from None
            if now() >= next_signal:
                await _interrupt(data)
                next_signal = now() + _SIGNAL_S
            await asyncio.sleep(_POLL_S)
        else:
            return


async def _interrupt(data: int) -> None:
    """Interrupt the old server, as the cluster's owner, who may have written any pid in its file."""
    with suppress(OSError), subfolder(data, CLUSTER) as cluster:
        info = os.fstat(cluster)
        process = await start_in(cluster, Account(info.st_uid, info.st_gid, ""))
        await process.wait()
