"""What commands that call a running hub share: its address, the token, the exit code of a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from server.cli import exit_codes
from server.cli.event_loop import run_command, until_stopped
from server.cli.exit_codes import CommandError
from server.cli.hub_client import ClientError, HubClient, open_client
from server.cli.terminal import printable
from server.settings import ClientSettings


def run_with_hub(
    work: Callable[[HubClient], Coroutine[Any, Any, int]], *, url: str | None, token: str | None
) -> NoReturn:
    """Run a command with a client of the hub, and exit with the code that it returns.

    url, token: those of the environment when None. Raises CommandError without a token, and when the hub
    refuses or cannot be reached.
    """
    settings = ClientSettings()
    secret = token or (settings.token.get_secret_value() if settings.token else "")
    if not secret:
        raise CommandError("no token: set IDEO_TOKEN or give --token", exit_code=exit_codes.UNAUTHENTICATED)

    async def _work() -> int:
        async with open_client(url or settings.url, secret) as client:
            return await work(client)

    async def _until_stopped(stop: asyncio.Event) -> int:
        try:
            return await until_stopped(_work(), stop)
        except ClientError as error:
            raise CommandError(printable(str(error)), exit_code=_exit_code(error)) from None

    run_command(_until_stopped)


def _exit_code(error: ClientError) -> int:
    if error.status in (401, 403):
        return exit_codes.UNAUTHENTICATED
    return exit_codes.UNAVAILABLE if error.unavailable else exit_codes.FAILED
