"""Reading the settings for a command, with a message for every mistake, old name and misspelt name."""

from __future__ import annotations

from typing import Any

from server.cli import exit_codes
from server.cli.exit_codes import CommandError, notice
from server.settings.loading import SettingsError, known_names, load
from server.settings.names import old_names_in_use, unknown_names
from server.settings.settings import ClientSettings, Settings
from server.settings.sources import read_sources


def read_settings(
    *,
    require: tuple[str, ...] = (),
    in_prod: tuple[str, ...] = (),
    about_names: bool = True,
    **overrides: Any,
) -> Settings:
    """The settings (see `settings.load`). Raises CommandError with every mistake in them.

    about_names: prints a line on standard error for each setting that still has its old name, and for each
    name that is none of a setting.
    """
    problems = read_sources(dev=overrides.get("env") == "dev")
    for message in messages_about_names() if about_names else ():
        notice(message)
    try:
        settings = load(require=require, in_prod=in_prod, **overrides)
    except SettingsError as error:
        raise settings_error(SettingsError([*problems, *error.problems])) from None
    if problems:
        raise settings_error(SettingsError(problems))
    return settings


def read_serving_settings(*, embedded_database: bool, about_names: bool = True) -> Settings:
    """The settings of `ideo serve`. Raises CommandError with every mistake in them."""
    return read_settings(
        require=("DEEPAGENTS_RUNTIME_URL",),
        in_prod=("IDEO_JWKS_URL",) if embedded_database else ("DATABASE_URL", "IDEO_JWKS_URL"),
        about_names=about_names,
    )


def read_client_settings(*, about_names: bool = True) -> ClientSettings:
    """The settings of a command that calls a running hub. about_names: as of `read_settings`. Raises
    CommandError."""
    problems = read_sources(dev=False)
    for message in messages_about_names() if about_names else ():
        notice(message)
    if problems:
        raise settings_error(SettingsError(problems))
    return ClientSettings()


def messages_about_names() -> list[str]:
    """A sentence for each old name, and for each name that no setting has."""
    renamed = [f"{old} has been renamed: set {new} instead" for old, new in old_names_in_use().items()]
    unknown = [
        f"{name} is not a setting, and is ignored" + (f": did you mean {alike}?" if alike else "")
        for name, alike in unknown_names(known_names()).items()
    ]
    return renamed + unknown


def settings_error(error: SettingsError) -> CommandError:
    """The error that ends a command whose settings are wrong."""
    return CommandError(*error.problems, exit_code=exit_codes.USAGE)
