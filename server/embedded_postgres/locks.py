"""The lock files of a data folder, which ensure that it has one user and its cluster one server."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from server.embedded_postgres.process import EmbeddedServerError

#: Seconds that an old server has to stop.
STOP_TIMEOUT_S = 30.0
_POLL_S = 0.02


@contextmanager
def owner_lock(data_dir: Path) -> Iterator[None]:
    """Hold `owner.lock` for this process. Raises EmbeddedServerError when another process holds it."""
    with (data_dir / "owner.lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmbeddedServerError(
                f"another process uses the embedded PostgreSQL in {data_dir}: stop it, or "
                "set IDEO_DATA_DIR to another folder"
            ) from None
        yield


async def take_server_lock(lock: int, data_dir: Path) -> None:
    """Take `server.lock` by its file descriptor. If a killed process's server holds it, stop that server.

    Raises EmbeddedServerError when the old server does not stop.
    """
    deadline = asyncio.get_running_loop().time() + STOP_TIMEOUT_S
    signalled = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if asyncio.get_running_loop().time() > deadline:
                raise EmbeddedServerError(f"an old PostgreSQL in {data_dir} does not stop") from None
            if not signalled:
                # A server holds the lock, so the pid is its own and has not been reused.
                with suppress(OSError, ValueError, IndexError):
                    pid = int((data_dir / "postgres" / "postmaster.pid").read_text().split("\n")[0])
                    os.kill(pid, signal.SIGINT)
                    signalled = True
            await asyncio.sleep(_POLL_S)
        else:
            return
