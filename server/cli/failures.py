"""The last handler of the command line: what no command expected, as a sentence and without a value."""

from __future__ import annotations

import errno
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from server.cli import exit_codes
from server.cli.exit_codes import notice
from server.cli.printable import printable, without_credentials
from server.settings.names import DEBUG


class Commands(click.Group):
    """A group of commands that never ends in a traceback."""

    def __call__(self, *args: Any, **more: Any) -> Any:
        """Run the command line as a process of its own."""
        prepare_terminal()
        return self.main(*args, **more)

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        """Read the arguments of the group."""
        with _safe_errors():
            return super().make_context(*args, **more)

    def invoke(self, ctx: click.Context) -> Any:
        """Read a command's arguments, and run it."""
        with _safe_errors():
            return super().invoke(ctx)

    def main(self, *args: Any, **more: Any) -> Any:
        """Run a command, and exit with its code."""
        try:
            return super().main(*args, **more)
        except Exception as error:
            if more.get("standalone_mode") is False:
                raise
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                notice(f"cannot write the output ({os.strerror(error.errno)})")
            else:
                report(error)
            sys.exit(exit_codes.FAILED)


@contextmanager
def _safe_errors() -> Iterator[None]:
    """Leave out the password of an address that is given as an argument by mistake, and what a terminal would
    obey."""
    try:
        yield
    except click.UsageError as error:
        shown = printable(without_credentials(error.format_message()), lines=True)
        if shown == error.format_message():
            raise
        raise click.UsageError(shown, error.ctx) from None


def prepare_terminal() -> None:
    """Show what the terminal's encoding does not have as escapes, and no warnings of libraries."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    # The core of gRPC writes lines of its own to standard error, beside ours.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def report(error: BaseException) -> None:
    """Say that the error is not the user's. With IDEO_DEBUG also where it came from.

    Texts of errors are left out: they may contain a password or a prompt.
    """
    notice(f"an unexpected error ({' in '.join(_names(error))}), which is a bug in the hub: please report it")
    if os.environ.get(DEBUG, "0") in ("", "0"):
        notice(f"with {DEBUG}=1, or `ideo --debug`, the command also shows where the error came from")
        return
    for one in _chain(error):
        click.echo(f"{type(one).__name__}:\n{''.join(traceback.format_tb(one.__traceback__))}", err=True)


def _names(error: BaseException) -> list[str]:
    """The class of the error, and of the groups around it, innermost first."""
    inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else None
    return [*(_names(inner) if inner is not None else ()), type(error).__name__]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what is in it when it is a group, and what caused it."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for inner in error.exceptions:
                yield from _chain(inner)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
