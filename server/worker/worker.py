"""The hub's side of a process that computes for it (ADR 0056, ADR 0071).

1. The process is started with the first computation, and ended when none has come for a while.
2. It holds nothing between two computations: all that one depends on is sent with it. So the end of the
   process costs the computation that it was about, which is begun again in a new one.
3. A computation that ends the process twice, or that takes too much time, is given up. Only where no process
   can be started, the hub computes itself.
4. The process ends when the hub does, however that ends: its input ends then. A hub that stops does not
   wait for a computation, which may be stuck.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fcntl import fcntl
from typing import BinaryIO, ParamSpec, TypeVar, cast

import structlog

from server.domain.access.on_behalf_of import on_behalf_of
from server.domain.fair_queue import FairQueue
from server.domain.off_loop import to_the_end
from server.domain.worker import NotComputed, Worker, WorkerMissing
from server.worker.messages import Call, Raised, Returned, receive, send

P = ParamSpec("P")
T = TypeVar("T")

_log = structlog.stdlib.get_logger("server.worker")

#: Seconds without a computation after which the process of a kind is ended. A reviewer looks at a page for
#: minutes.
IDLE_S = {"frames": 30.0, "reviews": 300.0}
#: Seconds that a computation may take on the busiest machine: the process itself bounds its processor time.
MAX_ANSWER_S = 300.0
#: Seconds without any processor time after which a process that computes is stuck, as one that was stopped:
#: whatever else the machine does, it would have had some.
STUCK_S = 10.0
#: Of a process, the kernel's clock of its processor time (Linux).
_CPU_CLOCK = 2
#: How often a computation is tried, and seconds after which a process that did not start is tried again.
TRIES, RETRY_S = 2, 60.0
#: Bytes of a pipe, if the system allows them.
_PIPE_BYTES = 1 << 20
#: The option of that (Linux).
_SET_PIPE_SIZE = 1031
#: Seconds that the process has to be ready, and to end once its input has.
START_S, END_S = 60.0, 1.0
#: Seconds of processor time that one computation of a kind may take, and bytes of memory that the process may
#: have. The costliest frame that is known takes a quarter of either.
BOUNDS = {"frames": (10.0, 512 << 20), "reviews": (30.0, 384 << 20)}


def command(kind: str, *, max_cpu_s: float | None = None, max_bytes: int | None = None) -> tuple[str, ...]:
    """What starts the process of a kind: `frames` or `reviews`."""
    cpu_s, size_bytes = BOUNDS[kind]
    bounds = str(max_cpu_s or cpu_s), str(max_bytes or size_bytes)
    return sys.executable, "-m", "server.worker", kind, *bounds


class _Ended(Exception):
    """The process ended. code: with what."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class WorkerProcess(Worker):
    """Starts and ends the process, and has it compute. kind: as for `command`; started_by: another command.
    idle_s: instead of that of `IDLE_S`. stuck_s: instead of `STUCK_S`."""

    def __init__(
        self,
        kind: str,
        started_by: Sequence[str] = (),
        *,
        idle_s: float | None = None,
        stuck_s: float = STUCK_S,
    ) -> None:
        self._kind, self._command = kind, started_by or command(kind)
        self._idle_s = IDLE_S[kind] if idle_s is None else idle_s
        self._stuck_s = stuck_s
        self._turns = FairQueue(1)
        # The pipes are read and written in a thread of their own, which waits and computes nothing.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"worker-{kind}")
        self._process: _Process | None = None
        #: One that is being started.
        self._starting: _Process | None = None
        self._closed = False
        self._idle: asyncio.TimerHandle | None = None
        self._preparing: asyncio.Future[None] | None = None
        self._ending: asyncio.Future[None] | None = None
        #: When it may be started, by the time of the event loop.
        self._may_start_at = 0.0

    @property
    def pid(self) -> int | None:
        """The id of the process while there is one."""
        return None if self._process is None else self._process.pid

    def prepare(self) -> bool:
        """As in `Worker`."""
        if self._process is None and (self._preparing is None or self._preparing.done()):
            self._preparing = asyncio.ensure_future(self._prepare())
        return self._process is not None

    async def _prepare(self) -> None:
        with suppress(WorkerMissing, NotComputed):
            await self.run(bool)

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As in `Worker`."""
        async with self._turns.place(on_behalf_of.get()):
            self._stop_idling()
            try:
                result = await self._result((function, args, kwargs))
            finally:
                if self._process is not None:
                    self._idle = asyncio.get_running_loop().call_later(self._idle_s, self._end_soon)
        if isinstance(result, Raised):
            raise result.error
        return cast(T, result.value)

    async def close(self) -> None:
        """End the process, with what it computes. Nothing is computed any more."""
        self._closed = True
        for process in (self._process, self._starting):
            if process is not None:
                process.kill()
        async with self._turns.place(on_behalf_of.get()):
            self._stop_idling()
            await self._end()
        self._thread.shutdown(wait=False)

    async def _result(self, call: Call) -> Returned | Raised:
        """The result. Raises WorkerMissing, NotComputed."""
        for _ in range(TRIES):
            if self._closed:
                break
            try:
                return await self._ask(call)
            except _Ended as ended:
                if ended.code == -signal.SIGPROF:
                    # It would take as long again.
                    break
        raise NotComputed

    async def _ask(self, call: Call) -> Returned | Raised:
        """The result. Raises _Ended, WorkerMissing."""
        loop = asyncio.get_running_loop()
        process = self._process or await self._started()
        watch = _Watch(process, self._stuck_s)
        try:
            return await loop.run_in_executor(self._thread, process.ask, call)
        except (OSError, EOFError):
            await self._end()
            _log.warning("worker_ended", kind=self._kind, code=process.code)
            raise _Ended(process.code) from None
        except BaseException:
            # What it answers would be taken for the next answer.
            process.kill()
            await self._end()
            raise
        finally:
            watch.end()

    async def _started(self) -> _Process:
        """A new process. Raises WorkerMissing."""
        if asyncio.get_running_loop().time() < self._may_start_at:
            raise WorkerMissing
        # It takes most of a second: one that is no longer waited for is kept for the next computation.
        return await to_the_end(self._start())

    async def _start(self) -> _Process:
        loop = asyncio.get_running_loop()
        try:
            self._starting = await loop.run_in_executor(self._thread, _Process, self._command)
            if self._closed:
                self._starting.kill()
            await loop.run_in_executor(self._thread, self._starting.wait_until_ready)
        except OSError as error:
            if self._closed:
                raise NotComputed from None
            self._may_start_at = loop.time() + RETRY_S
            _log.warning("worker_missing", kind=self._kind, fault=type(error).__name__)
            raise WorkerMissing from None
        finally:
            process, self._starting = self._starting, None
        assert process is not None
        self._process = process
        return process

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
        async with self._turns.place(on_behalf_of.get()):
            if self._idle is None:
                await self._end()


class _Watch:
    """Ends a process that is stuck, or takes too long, until the watch ends."""

    def __init__(self, process: _Process, stuck_s: float) -> None:
        self._process, self._stuck_s = process, stuck_s
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time() + MAX_ANSWER_S
        self._next = self._look_later()

    def end(self) -> None:
        """It has answered."""
        self._next.cancel()

    def _look_later(self) -> asyncio.TimerHandle:
        return self._loop.call_later(self._stuck_s, self._look, self._process.cpu_s)

    def _look(self, cpu_s: float | None) -> None:
        stuck = cpu_s is not None and self._process.cpu_s == cpu_s
        if stuck or self._loop.time() >= self._until:
            self._process.kill()
        else:
            self._next = self._look_later()


class _Process:
    """One process and its pipes. Its methods wait, except `kill`."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start it. Raises OSError."""
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

    def wait_until_ready(self) -> None:
        """Wait until it computes. Raises OSError when it ends, or does not begin."""
        ready = select.poll()
        ready.register(self._output, select.POLLIN)
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
    def cpu_s(self) -> float | None:
        """Seconds of processor time that it had; None where the system does not say so, or it has ended."""
        try:
            return time.clock_gettime(~self.pid << 3 | _CPU_CLOCK)
        except OSError:
            return None

    @property
    def code(self) -> int | None:
        """What it ended with."""
        return self._popen.returncode

    def ask(self, call: Call) -> Returned | Raised:
        """The result of a call. Raises OSError, EOFError."""
        send(self._input, call)
        return cast(Returned | Raised, receive(self._output))

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
