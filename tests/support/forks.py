"""Commands of `ideo` as processes of their own that begin as forks of one which has imported everything: to
start an interpreter and import a hub takes a second of processor time, and tests start hundreds."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Its own argument is the descriptor of a socket. Each packet is a command, with descriptors for its output,
#: its errors and its notices: the process id, and the exit code once it has ended.
_FORKING = """
import gc, json, os, select, signal, socket, sys
from server.__main__ import main
from server.cli.failures import prepare_terminal
# As the command does, before it imports anything else.
prepare_terminal()
import httpx, rich.console, uvloop, websockets.asyncio.client
import server.cli.accept, server.cli.dev, server.cli.diff, server.cli.doctor.command, server.cli.download
import server.cli.draft, server.cli.migrate, server.cli.quarantine, server.cli.record, server.cli.replay
import server.cli.replay_runtime, server.cli.review, server.cli.serve
import server.cli.terminal, server.cli.user, server.cli.watch

def become(command, output, errors):
    for number, descriptor in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, errors)):
        os.dup2(descriptor, number)
    os.closerange(3, 256)
    # Those of this process know what kind of file they had.
    sys.stdout = open(1, "w", closefd=False)
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(command["environment"])
    os.chdir(command["cwd"])
    sys.argv = ["ideo", *command["arguments"]]
    main()

commands = socket.socket(fileno=int(sys.argv[1]))
ended, woken = os.pipe()
for end in (ended, woken):
    os.set_blocking(end, False)
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, lambda *_: None)
signal.set_wakeup_fd(woken)
notices = {}
gc.collect()
gc.freeze()
while True:
    ready = select.select([commands, ended], [], [])[0]
    if ended in ready:
        os.read(ended, 65536)
        for child in list(notices):
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                with os.fdopen(notices.pop(pid), "w") as notice:
                    notice.write(f"{os.waitstatus_to_exitcode(status)}\\n")
    if commands in ready:
        packet, descriptors, _, _ = socket.recv_fds(commands, 1 << 20, 3)
        if not packet:
            os._exit(0)
        output, errors, notice = descriptors
        child = os.fork()
        if child == 0:
            become(json.loads(packet), output, errors)
            break
        os.write(notice, b"%d\\n" % child)
        notices[child] = notice
        os.close(output)
        os.close(errors)
"""


@functools.cache
def _parent() -> socket.socket:
    """Where commands go: to a process that ends with this one."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "gen/python", ROOT / "clients/python")))
    with there:
        process = subprocess.Popen(
            [sys.executable, "-c", _FORKING, str(there.fileno())],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": paths},
            pass_fds=[there.fileno()],
            stdin=subprocess.DEVNULL,
        )
    atexit.register(_end, here, process)
    return here


def _end(commands: socket.socket, process: subprocess.Popen[bytes]) -> None:
    commands.close()
    process.wait()


class Fork:
    """A process with what asyncio's have, though it is another one's child."""

    def __init__(self, pid: int, stdout: asyncio.StreamReader | None, ended: asyncio.Task[int]) -> None:
        self.pid, self.stdout = pid, stdout
        self._ended = ended

    @property
    def returncode(self) -> int | None:
        """Its exit code, or minus the number of the signal that ended it; none while it runs."""
        return self._ended.result() if self._ended.done() else None

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if not self._ended.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9."""
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        return await asyncio.shield(self._ended)


async def fork(
    *arguments: str,
    environment: Mapping[str, str],
    errors: int,
    output: int | None = None,
    cwd: Path = ROOT,
) -> Fork:
    """`ideo ARGUMENTS` with this environment. errors, output: descriptors; without output it has a pipe."""
    command = {"arguments": arguments, "environment": dict(environment), "cwd": str(cwd)}
    read_end, write_end = os.pipe() if output is None else (None, output)
    notices, notices_end = os.pipe()
    try:
        socket.send_fds(_parent(), [json.dumps(command).encode()], [write_end, errors, notices_end])
    finally:
        os.close(notices_end)
        if read_end is not None:
            os.close(write_end)
    written = None if read_end is None else await _read_from(read_end)
    said = await _read_from(notices)
    pid = int(await said.reader.readline())
    stdout = None if written is None else written.reader
    return Fork(pid, stdout, asyncio.create_task(_end_of(said, written)))


async def _end_of(said: _Pipe, written: _Pipe | None) -> int:
    code = int(await said.reader.readline())
    await said.closed
    if written is not None:
        # A child of its own may hold the pipe open.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(written.closed), 1)
        written.transport.close()
    return code


class _Pipe(asyncio.StreamReaderProtocol):
    """What a process writes. `closed`: that nothing more will come."""

    transport: asyncio.BaseTransport

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader()
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        super().__init__(self.reader)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        super().connection_made(transport)

    def eof_received(self) -> bool:
        """Nothing more comes. uvloop keeps the pipe open for a protocol that wants it, asyncio never does."""
        super().eof_received()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.closed.set_result(None)


async def _read_from(descriptor: int) -> _Pipe:
    file = os.fdopen(descriptor, "rb", buffering=0)
    _, pipe = await asyncio.get_running_loop().connect_read_pipe(_Pipe, file)
    return pipe
