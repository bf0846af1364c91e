"""Reading the settings for a command, with a message for every mistake and every old name."""

from __future__ import annotations

from typing import Any

import click

from server.cli import exit_codes
from server.cli.exit_codes import CommandError
from server.settings import Settings, SettingsError, load, old_names_in_use


def read_settings(
    *, require: tuple[str, ...] = (), in_prod: tuple[str, ...] = (), **overrides: Any
) -> Settings:
    """The settings (see `settings.load`). Raises CommandError with every mistake in them.

    Prints a line on standard error for each setting that still has its old name.
    """
    for old, new in old_names_in_use().items():
        click.echo(f"ideo: {old} has been renamed: set {new} instead", err=True)
    try:
        return load(require=require, in_prod=in_prod, **overrides)
    except SettingsError as error:
        raise settings_error(error) from None


def settings_error(error: SettingsError) -> CommandError:
    """The error that ends a command whose settings are wrong."""
    return CommandError(*error.problems, exit_code=exit_codes.USAGE)
