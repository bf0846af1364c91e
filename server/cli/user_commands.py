"""`ideo user`: its commands and their options."""

from __future__ import annotations

import click

from server.cli.options import client_options, examples


@click.group()
def user() -> None:
    """Show who you are, and find users to grant access to."""


@user.command("me", epilog=examples("ideo user me"))
@client_options("Print the user as JSON on one line.")
def user_me(url: str | None, bearer: str | None, as_json: bool) -> None:
    """Show the user that the token belongs to."""
    from server.cli import user as command

    command.me(url=url, token=bearer, as_json=as_json)


@user.command("find", epilog=examples("ideo user find ann@example.com"))
@click.argument("email")
@client_options("Print the users as JSON, one per line.")
def user_find(email: str, url: str | None, bearer: str | None, as_json: bool) -> None:
    """Find users by their whole e-mail address, as far as you may find them. Exit 1 if there is none."""
    from server.cli import user as command

    command.find(email, url=url, token=bearer, as_json=as_json)
