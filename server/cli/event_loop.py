"""Running a command's coroutine until it ends or a signal stops it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, NoReturn

from server.addresses.host_names import HubLoop
from server.cli import exit_codes
from server.cli.exit_codes import CommandError
from server.domain.errors import DatabaseUnavailable
from server.grpc.poller import draining_callback
from server.start_error import StartError

#: Seconds that the event loop has to close.
LEAVE_S = 2.0


class CommandLoop(HubLoop):
    """The event loop of a command, which reads at once all that grpc wakes it with."""

    def add_reader(self, fd: Any, callback: Callable[..., Any], *args: Any) -> None:  # type: ignore[override]
        """As asyncio's."""
        super().add_reader(fd, draining_callback(fd, callback), *args)


def run_command(work: Callable[[asyncio.Event], Coroutine[Any, Any, int]]) -> NoReturn:
    """Run `work` and exit with the code that it returns.

    Its argument is an event that SIGINT and SIGTERM set. Raises CommandError when a hub cannot start, the
    database is unavailable, or the operating system refuses something, such as a file.
    """
    before = signal.getsignal(signal.SIGINT)

    async def _with_signals() -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        return await work(stop)

    try:
        with asyncio.Runner(loop_factory=CommandLoop) as runner:
            code = runner.run(_with_signals())
            with leaving(code):
                runner.close()
        sys.exit(code)
    except StartError as error:
        raise CommandError(str(error)) from None
    except DatabaseUnavailable as error:
        raise _unavailable(error) from None
    except BrokenPipeError:
        raise  # the reader of the output has gone; click ends quietly
    except OSError as error:
        if error.strerror is None:
            raise  # a library's, which says nothing to a person
        where = f": {error.filename}" if error.filename else ""
        raise CommandError(f"{error.strerror}{where}") from error
    finally:
        # The loop leaves a handler behind that would end the interpreter's last steps with a traceback.
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def leaving(code: int) -> Iterator[None]:
    """Exit with the code when the block takes longer than LEAVE_S.

    The work is done. But a loop waits for its threads before it closes.
    """
    leave = threading.Timer(LEAVE_S, os._exit, (code,))
    leave.daemon = True
    leave.start()
    try:
        yield
    finally:
        leave.cancel()


def _unavailable(error: DatabaseUnavailable) -> CommandError:
    # Here, so that the clients of a hub start without the database's driver.
    from server.db.connections import ConnectionRefused
    from server.db.errors import is_unknown_host, reason_of

    cause = error.__cause__
    if isinstance(cause, ConnectionRefused) and cause.options_refused:
        return CommandError(
            f"DATABASE_URL: the server refuses a setting in the parameter options ({cause.reason})",
            exit_code=exit_codes.USAGE,
        )
    place = _database_place()
    return CommandError(
        f"the database{place and f' at {place}'} is not available ({reason_of(error)}): "
        + ("correct the host in DATABASE_URL" if is_unknown_host(error) else "check DATABASE_URL"),
        exit_code=exit_codes.UNAVAILABLE,
    )


def _database_place() -> str:
    """The hosts and ports of DATABASE_URL; empty without one."""
    from server.addresses.postgres import parse_address
    from server.settings.loading import SettingsError, load

    with contextlib.suppress(SettingsError):
        url = load(env="dev").database_url
        if url is not None:
            return parse_address(url.get_secret_value()).places()
    return ""


async def until_stopped(
    work: Awaitable[int], stop: asyncio.Event, *, on_stop: Callable[[], None] = lambda: None
) -> int:
    """Await the work and return its code. When `stop` is set first, cancel it and return INTERRUPTED.

    on_stop: called then, before the work has ended: what it opened may take a while to close. Raises what the
    work raises, also while it is cancelled.
    """
    task = asyncio.ensure_future(work)
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
        with contextlib.suppress(OSError):
            on_stop()
        await asyncio.wait({task})
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            raise fault
        return exit_codes.INTERRUPTED
    stopped.cancel()
    return task.result()


async def serve_until_stopped(
    work: Awaitable[int], stop: asyncio.Event, *, on_stop: Callable[[], None] = lambda: None
) -> int:
    """As `until_stopped`, for commands that run until a signal: being stopped is success."""
    code = await until_stopped(work, stop, on_stop=on_stop)
    return 0 if code == exit_codes.INTERRUPTED else code


async def ending_when_cancelled(work: Awaitable[int]) -> int:
    """Await the work and return its code; when the task is cancelled, INTERRUPTED.

    Where the caller closes what it opened, it does so as after any other end, and not in a cancelled task.
    """
    try:
        return await work
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        return exit_codes.INTERRUPTED
