"""What commands that call a running hub share: its address, the token, the exit code of a refusal, and the
completion of ids."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

from ide_orchestrator.client import HubError, NotAuthenticated, NotTrusted, Unavailable
from ide_orchestrator.client.http_calls import PAGE, member
from server.addresses.host_names import HubLoop
from server.cli import exit_codes
from server.cli.environment import read_client_settings
from server.cli.event_loop import leaving, run_command, until_stopped
from server.cli.exit_codes import CommandError
from server.cli.hub_client import HubClient, open_client
from server.cli.printable import printable
from server.settings.values import http_address

T = TypeVar("T")

#: Seconds that the shell waits for ids to complete.
COMPLETION_S = 2.0

#: How the hub says that an id is unknown, and where one of the kind is found.
_UNKNOWN = re.compile("(?:no such|this) (proposal|draft|refinement|workflow)\\b")
_WHERE = {
    "proposal": "`ideo proposal ls` lists the ids of proposals",
    "draft": "`ideo draft ls` lists the ids of drafts",
    "refinement": "THREAD is the id of a thread, which `ideo proposal show` has",
    "workflow": "`ideo draft ls --json` lists the ids of workflows",
}

_TOKEN = re.compile(r"[\x21-\x7e]+")


def run_with_hub(
    work: Callable[[HubClient], Coroutine[Any, Any, int]],
    *,
    url: str | None,
    token: str | None,
    about_names: bool = True,
) -> NoReturn:
    """Run a command with a client of the hub, and exit with the code that it returns.

    url, token: those of the environment when None. about_names: as of `read_settings`. Raises CommandError
    without a token or an address that can be used, and when the hub refuses or cannot be reached.
    """
    address, secret = address_and_token(url, token, about_names=about_names)

    async def _work() -> int:
        async with open_client(address, secret) as client:
            return await work(client)

    run_until_stopped(_work)


def run_until_stopped(work: Callable[[], Coroutine[Any, Any, int]]) -> NoReturn:
    """Run what calls a hub, and exit with the code that it returns. Raises CommandError for its HubError."""

    async def _until_stopped(stop: asyncio.Event) -> int:
        try:
            return await until_stopped(work(), stop)
        except NotAuthenticated as error:
            raise CommandError(
                f"{error} (IDEO_TOKEN or --token)", exit_code=exit_codes.UNAUTHENTICATED
            ) from None
        except HubError as error:
            raise CommandError(f"{error}{_advice(error)}", exit_code=_exit_code(error)) from None

    run_command(_until_stopped)


def ids_beginning_with(
    incomplete: str, path: str, shown: Callable[[dict[str, Any]], tuple[str, str]]
) -> list[tuple[str, str]]:
    """The ids on the first page of a list that begin with the text, each with a description; none without a
    token, or when the hub does not answer in time. shown: the id and the description of an item."""

    async def _first_page(client: HubClient) -> list[tuple[str, str]]:
        page = await client.call("GET", f"{path}?limit={PAGE}")
        return [shown(item) for item in member(page, "items")]

    items = ask_hub(_first_page, within_s=COMPLETION_S) or []
    found = [(printable(item_id), printable(text)) for item_id, text in items]
    return [(item_id, text) for item_id, text in found if item_id.startswith(incomplete)]


def ask_hub(work: Callable[[HubClient], Coroutine[Any, Any, T]], *, within_s: float) -> T | None:
    """What `work` gets from the hub of the environment; None when that does not answer in time, or refuses.

    For shell completion, which must neither fail nor wait: when nothing came of it and the loop cannot be
    closed, the process exits with 0.
    """

    async def _work() -> T:
        given = address_and_token(None, None, about_names=False)
        async with asyncio.timeout(within_s), open_client(*given) as client:
            return await work(client)

    with asyncio.Runner(loop_factory=HubLoop) as runner:
        try:
            return runner.run(_work())
        except (CommandError, HubError, TimeoutError):
            return None
        finally:
            with leaving(0):
                runner.close()


def address_and_token(url: str | None, token: str | None, *, about_names: bool = True) -> tuple[str, str]:
    """The hub's address and the token: those of the environment for None. about_names: as of
    `read_settings`. Raises CommandError."""
    settings = read_client_settings(about_names=about_names)
    address = _address(url, "--url") if url else _address(settings.url, "IDEO_URL")
    secret = (token or (settings.token.get_secret_value() if settings.token else "")).strip()
    if not secret:
        raise CommandError(
            "no token: set IDEO_TOKEN, as the line that `ideo dev` prints does, or give --token",
            exit_code=exit_codes.UNAUTHENTICATED,
        )
    if not _TOKEN.fullmatch(secret):
        raise CommandError(
            "the token contains characters that no token has: copy it again",
            exit_code=exit_codes.UNAUTHENTICATED,
        )
    return address, secret


def _address(text: str, source: str) -> str:
    try:
        return http_address(text)
    except ValueError as error:
        raise CommandError(f"{source}: {error}", exit_code=exit_codes.USAGE) from None


def _advice(error: HubError) -> str:
    """What to do when nothing answered, or where an id is found that the hub does not know."""
    unknown = _UNKNOWN.search(str(error))
    if unknown is not None and error.status in (403, 404):
        return f": {_WHERE[unknown[1]]}"
    answered = error.code or error.status or not isinstance(error, Unavailable)
    if answered:
        return ""
    return ": start it with `ideo dev`, or set IDEO_URL to its address"


def _exit_code(error: HubError) -> int:
    if error.status == 403:
        return exit_codes.UNAUTHENTICATED
    return exit_codes.UNAVAILABLE if isinstance(error, Unavailable | NotTrusted) else exit_codes.FAILED
