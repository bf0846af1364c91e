"""`ideo serve --processes`: a parent of processes that serve on the same ports, each a replica (ADR 0067).

The parent does nothing else: it holds the ports and an embedded database, starts the processes, starts one
again that has ended, and stops them all.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import NoReturn, Self

import click
import structlog

from server.cli import exit_codes
from server.cli.child import Assignment
from server.cli.database import check_places, open_database
from server.cli.environment import read_serving_settings
from server.cli.event_loop import ending_when_cancelled, run_command, serve_until_stopped
from server.cli.exit_codes import CommandError
from server.clock import SystemClock
from server.domain.clock import Clock
from server.observability.logs import configure_logging
from server.observability.sibling_metrics import Place
from server.ports import held_ports
from server.supervision import MAX_RESTARTS, PartFailed, supervise_all

#: Seconds that processes have to end, beside those that they drain: a database that is away takes them.
STOP_S = 15.0

_log = structlog.stdlib.get_logger("server.processes")


class ProcessEnded(Exception):
    """A process ended. `code`: its exit code, or minus the number of the signal that ended it."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the process ended with {code}")
        self.code = code

    @property
    def exit_code(self) -> int:
        """The exit code of a command that ends for this reason."""
        return self.code if self.code > 0 else exit_codes.FAILED


def run(count: int, *, embedded_database: bool) -> NoReturn:
    """Serve with `count` processes until a signal. Prints `HTTP ADDRESS` and `gRPC ADDRESS` when all of them
    accept connections."""
    # As it is now: reading the settings adds what files say, which each process reads for itself.
    environment = dict(os.environ)
    settings = read_serving_settings(embedded_database=embedded_database)
    configure_logging(dev=settings.dev)
    options = ("--embedded-database",) if embedded_database else ()
    command = (sys.executable, "-m", "server", "serve", "--child", *options)

    async def _serve() -> int:
        async with contextlib.AsyncExitStack() as stack:
            check_places(settings)
            held = stack.enter_context(held_ports(settings))
            dsn = None
            if settings.database_url is None:
                dsn = await stack.enter_async_context(open_database(settings))
                await _migrate(dsn)
            group = secrets.token_hex(16)
            assignments = [
                Assignment(Place(number, count, group), held.http_port, held.grpc_port, dsn)
                for number in range(1, count + 1)
            ]
            processes = await stack.enter_async_context(
                Processes(command, environment, SystemClock(), stop_s=settings.drain_s + STOP_S).running()
            )
            return await ending_when_cancelled(processes.serve(assignments))

    async def _until_stopped(stop: asyncio.Event) -> int:
        return await serve_until_stopped(_serve(), stop)

    run_command(_until_stopped)


async def _migrate(dsn: str) -> None:
    # Here, so that the parent is small without an embedded database.
    from server.db import migrate

    await migrate.up(dsn)


class Processes:
    """Processes of one command. stop_s: how long they have to end once they are stopped."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], clock: Clock, *, stop_s: float
    ) -> None:
        self._command, self._environment, self._clock, self._stop_s = command, environment, clock, stop_s
        self._running: set[Process] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """When the block ends, all processes are stopped in order; one that takes too long is killed."""
        try:
            yield self
        finally:
            for process in self._running:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
            ends = {asyncio.create_task(process.wait()): process for process in self._running}
            if ends:
                _, late = await asyncio.wait(ends, timeout=self._stop_s)
                for end in late:
                    _log.warning("process_killed", pid=ends[end].pid)
                    with contextlib.suppress(ProcessLookupError):
                        ends[end].kill()
                    await end

    async def serve(self, assignments: list[Assignment]) -> int:
        """Start a process for each assignment, print the addresses, and start again what ends. Returns the
        exit code of the first process if it does not serve. Raises CommandError when one ends again and
        again."""
        try:
            # Alone, so that what is wrong for all of them is said once.
            first, addresses = await self._start(assignments[0])
        except ProcessEnded as end:
            return end.exit_code
        started = [first]
        serving = {f"process {each.place.number}": asyncio.Event() for each in assignments}

        async def serve_one(name: str, assignment: Assignment) -> None:
            try:
                process = started.pop() if started else (await self._start(assignment))[0]
                serving[name].set()
                await self._end(process)
            except ProcessEnded as end:
                _log.warning("process_ended", process=assignment.place.number, code=end.code)
                raise

        async def announce() -> None:
            for event in serving.values():
                await event.wait()
            click.echo("".join(addresses), nl=False)

        parts = {
            name: partial(serve_one, name, each) for name, each in zip(serving, assignments, strict=True)
        }
        try:
            await supervise_all(parts, self._clock, announce())
        except PartFailed as failed:
            cause = failed.__cause__
            raise CommandError(
                f"{failed.part} ended {MAX_RESTARTS + 1} times in a row: the lines above say why",
                exit_code=cause.exit_code if isinstance(cause, ProcessEnded) else exit_codes.FAILED,
            ) from None
        return exit_codes.FAILED

    async def _start(self, assignment: Assignment) -> tuple[Process, list[str]]:
        """A process that serves, and the lines that it printed. Raises ProcessEnded."""
        process = await asyncio.create_subprocess_exec(
            *self._command, stdin=PIPE, stdout=PIPE, env=self._environment
        )
        self._running.add(process)
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError):
            process.stdin.write(assignment.line())
            await process.stdin.drain()
        lines = [(await process.stdout.readline()).decode() for _ in ("HTTP", "gRPC")]
        if not lines[-1]:
            await self._end(process)
        return process, lines

    async def _end(self, process: Process) -> NoReturn:
        """Wait for the process's end. Raises ProcessEnded."""
        code = await process.wait()
        self._running.discard(process)
        raise ProcessEnded(code)
