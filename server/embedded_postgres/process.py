"""Starting PostgreSQL's programs as a user that they accept."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from server.embedded_postgres.accounts import Account

#: Seconds that a program has to end after a signal.
STOP_TIMEOUT_S = 30.0


async def start_in(
    folder: int,
    account: Account,
    command: Sequence[str] = (),
    *,
    output: int = asyncio.subprocess.DEVNULL,
    fds: Sequence[int] = (),
    files: Mapping[str, str | None] | None = None,
) -> Process:
    """Start a program as the account, in a folder that may be closed to it: see launch.py.

    folder, output, fds: file descriptors; the program inherits the last two. files: what is written or
    removed in the folder before. Without a command, the folder's server is interrupted.

    It gets its own session, so that Ctrl-C reaches only the hub, and an almost empty environment, so that the
    user's PGPORT has no effect.
    """
    script = str(Path(__file__).with_name("launch.py"))
    numbers = (os.getpid(), account.uid, account.gid, folder)
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-I", "-S", script, *map(str, numbers), json.dumps(files or {}), *command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env={"LC_ALL": "C", "PATH": os.defpath},
        pass_fds=(folder, *fds),
        start_new_session=True,
    )


async def stop(process: Process, *signals: signal.Signals) -> None:
    """End a program by the first of the signals that ends it in time, else by SIGKILL."""
    for number in (*signals, signal.SIGKILL):
        if process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(number)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)


def last_lines(output: bytes) -> str:
    """The last six lines of a program's output, joined into one."""
    lines = output.decode(errors="replace").strip().splitlines()
    return " | ".join(lines[-6:]) or "it printed nothing"
