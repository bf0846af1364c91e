"""The hub's side of the process that interprets large frames (ADR 0056).

1. The process is started with the first large frame, and ended when none has come for a while.
2. It holds nothing between two frames: all that a frame's meaning depends on is sent with it. So the end of
   the process costs the frame that it was about, which is interpreted again in a new one.
3. A frame that ends the process twice is not read at all. Only where no process can be started, the hub reads
   large frames itself.
4. The process ends when the hub does, however that ends: its input ends then.
"""

from __future__ import annotations

import asyncio
import os
import select
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fcntl import fcntl
from typing import BinaryIO, cast

import structlog

from server.domain.runs.frame_worker import (
    FrameNotRead,
    FramePlace,
    FrameReading,
    FrameWorker,
    WorkerMissing,
)
from server.frame_worker.messages import Question, read_answer, receive, send

_log = structlog.stdlib.get_logger("server.frame_worker")

#: Seconds without a large frame after which the process is ended, and seconds that an answer may take on the
#: busiest machine: the process itself bounds its processor time.
IDLE_S, MAX_ANSWER_S = 30.0, 600.0
#: How often a frame is tried, and seconds after which a process that did not start is tried again.
TRIES, RETRY_S = 2, 60.0
#: Bytes of a pipe, if the system allows them.
_PIPE_BYTES = 1 << 20
#: The option of that (Linux).
_SET_PIPE_SIZE = 1031
#: Seconds that the process has to be ready, and to end once its input has.
START_S, END_S = 60.0, 1.0
#: Seconds of processor time that one frame may take, and bytes of memory that the process may have. The
#: costliest frame that is known takes a quarter of either.
MAX_CPU_S, MAX_BYTES = 10.0, 512 << 20


def command(*, max_cpu_s: float = MAX_CPU_S, max_bytes: int = MAX_BYTES) -> tuple[str, ...]:
    """What starts the process."""
    return sys.executable, "-m", "server.frame_worker", str(max_cpu_s), str(max_bytes)


class _Ended(Exception):
    """The process ended."""


class FrameWorkerProcess(FrameWorker):
    """Starts and ends the process, and asks it. started_by: the command for that. idle_s: as `IDLE_S`."""

    def __init__(self, started_by: Sequence[str] = (), *, idle_s: float = IDLE_S) -> None:
        self._command, self._idle_s = started_by or command(), idle_s
        self._turn = asyncio.Lock()
        # The pipes are read and written in a thread of their own, which waits and computes nothing.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="frame-worker")
        self._process: _Process | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._ending: asyncio.Future[None] | None = None
        #: When it may be started, by the time of the event loop.
        self._may_start_at = 0.0

    @property
    def pid(self) -> int | None:
        """The id of the process while there is one."""
        return None if self._process is None else self._process.pid

    async def interpret(self, state: bytes, calls: bytes, frame: bytes, place: FramePlace) -> FrameReading:
        """As in `FrameWorker`."""
        parts = Question(state, calls, frame, place).parts()
        async with self._turn:
            self._stop_idling()
            for _ in range(TRIES):
                try:
                    found = await self._ask(parts)
                except _Ended:
                    continue
                self._idle = asyncio.get_running_loop().call_later(self._idle_s, self._end_soon)
                return read_answer(found, frame)
        raise FrameNotRead

    async def close(self) -> None:
        """End the process. No frame comes any more."""
        async with self._turn:
            self._stop_idling()
            await self._end()
        self._thread.shutdown(wait=False)

    async def _ask(self, parts: Sequence[bytes]) -> list[bytes]:
        """The answer. Raises _Ended, WorkerMissing."""
        loop = asyncio.get_running_loop()
        process = self._process or await self._started()
        late = loop.call_later(MAX_ANSWER_S, process.kill)
        try:
            return await loop.run_in_executor(self._thread, process.ask, parts)
        except (OSError, EOFError):
            await self._end()
            _log.warning("frame_worker_ended", code=process.code)
            raise _Ended from None
        except BaseException:
            # What it answers would be taken for the next answer.
            process.kill()
            await self._end()
            raise
        finally:
            late.cancel()

    async def _started(self) -> _Process:
        """A new process. Raises WorkerMissing."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._may_start_at:
            raise WorkerMissing
        try:
            self._process = await loop.run_in_executor(self._thread, _Process, self._command)
        except OSError as error:
            self._may_start_at = loop.time() + RETRY_S
            _log.warning("frame_worker_missing", fault=type(error).__name__)
            raise WorkerMissing from None
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, process.end)

    def _stop_idling(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _end_soon(self) -> None:
        self._idle = None
        self._ending = asyncio.ensure_future(self._end_if_idle())

    async def _end_if_idle(self) -> None:
        async with self._turn:
            if self._idle is None:
                await self._end()


class _Process:
    """One process and its pipes. Its methods wait, except `kill`."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start it. Raises OSError, also when it ends before it is ready."""
        self._popen = subprocess.Popen(  # noqa: S603 - this interpreter with a module of the hub
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A traceback may have what a user wrote.
            stderr=subprocess.DEVNULL,
            bufsize=0,
            # No secret of the hub's. It finds the hub's modules where the hub found them.
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"},
            # What a terminal sends to the hub is the hub's to handle.
            start_new_session=True,
        )
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._input, output = self._popen.stdin.fileno(), self._popen.stdout.fileno()
        self._output = cast(BinaryIO, open(output, "rb", closefd=False))  # noqa: SIM115 - closed by `end`
        for descriptor in (self._input, output):
            with suppress(OSError):
                fcntl(descriptor, _SET_PIPE_SIZE, _PIPE_BYTES)
        ready = select.poll()
        ready.register(output, select.POLLIN)
        if not ready.poll(START_S * 1000):
            self.kill()
        try:
            receive(self._output)
        except EOFError:
            self.end()
            raise ChildProcessError from None

    @property
    def pid(self) -> int:
        """Its id."""
        return self._popen.pid

    @property
    def code(self) -> int | None:
        """What it ended with."""
        return self._popen.returncode

    def ask(self, parts: Sequence[bytes]) -> list[bytes]:
        """The answer to a question. Raises OSError, EOFError."""
        send(self._input, parts)
        return receive(self._output)

    def kill(self) -> None:
        """End it at once."""
        self._popen.kill()

    def end(self) -> None:
        """End it, and wait for that."""
        with suppress(OSError):
            self._output.close()
        # Leaving closes the pipes.
        with self._popen:
            assert self._popen.stdin is not None
            self._popen.stdin.close()
            try:
                self._popen.wait(END_S)
            except subprocess.TimeoutExpired:
                self._popen.kill()
