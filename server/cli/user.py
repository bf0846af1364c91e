"""`ideo user`: who the caller is, and the users whom it may find."""

from __future__ import annotations

from typing import Any, NoReturn

from ide_orchestrator.client.http_calls import member
from server.cli import exit_codes
from server.cli.exit_codes import notice
from server.cli.hub_client import HubClient
from server.cli.hub_session import run_with_hub
from server.cli.printable import json_line, print_line


def me(*, url: str | None, token: str | None, as_json: bool) -> NoReturn:
    """Show the caller."""

    async def _me(client: HubClient) -> int:
        _print_user(await client.call("GET", "/api/me"), as_json=as_json)
        return 0

    run_with_hub(_me, url=url, token=token)


def find(email: str, *, url: str | None, token: str | None, as_json: bool) -> NoReturn:
    """Show the users with an e-mail address whom the caller may find."""

    async def _find(client: HubClient) -> int:
        found = False
        async for user in client.items("/api/users", email=email):
            _print_user(user, as_json=as_json)
            found = True
        if not found:
            notice(
                "nobody whom you may find has this address: ask the user for the id that `ideo user me` shows"
            )
        return 0 if found else exit_codes.FAILED

    run_with_hub(_find, url=url, token=token)


def _print_user(user: dict[str, Any], *, as_json: bool) -> None:
    user_id, email = str(member(user, "user_id")), member(user, "email") or ""
    print_line(json_line(user) if as_json else f"{user_id}  {email}".rstrip())
