"""The exit codes of `ideo`, and the error that carries one."""

from __future__ import annotations

import sys

import click

from server.cli.printable import printable, without_credentials

#: The command ran, and something failed.
FAILED = 1
#: Wrong arguments or settings.
USAGE = 2
#: No token, or one that the hub does not accept.
UNAUTHENTICATED = 4
#: The hub or the database cannot be reached.
UNAVAILABLE = 5
#: Stopped by SIGINT or SIGTERM, as shells report it.
INTERRUPTED = 130


class CommandError(click.ClickException):
    """Ends a command: prints each message on a line of standard error and exits with `exit_code`."""

    def __init__(self, *messages: str, exit_code: int = FAILED) -> None:
        super().__init__("; ".join(messages))
        self.messages = messages
        self.exit_code = exit_code  # type: ignore[misc]

    def show(self, file: object = None) -> None:
        """Print the messages."""
        for message in self.messages:
            notice(message)


def notice(message: str) -> None:
    """Print a line for people on standard error, whatever the output is.

    Not with click, which writes UTF-8 to a terminal that has another encoding.
    """
    print(f"ideo: {printable(without_credentials(message))}", file=sys.stderr, flush=True)
