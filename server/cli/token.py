"""`ideo token`: tokens for development."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

from server.auth.secret_file import SecretFileError, read_secret
from server.auth.tokens import SharedSecret
from server.cli import exit_codes
from server.cli.environment import read_settings
from server.cli.exit_codes import CommandError
from server.settings.settings import Settings

_LIFETIME = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def run(email: str, *, ttl: str) -> None:
    """Print a token for the user. Raises CommandError."""
    settings = read_settings(env="dev")
    lifetime = _LIFETIME.fullmatch(ttl)
    if lifetime is None:
        raise CommandError(
            f"--ttl {ttl!r} is not a lifetime: write 30s, 15m, 1h or 7d", exit_code=exit_codes.USAGE
        )
    if "@" not in email:
        raise CommandError(f"--user {email!r} is not an email address", exit_code=exit_codes.USAGE)
    verifier = SharedSecret(_secret(settings), settings.jwt_issuer, settings.jwt_audience)
    duration = timedelta(**{_UNITS[lifetime[2]]: int(lifetime[1])})
    click.echo(verifier.issue(email=email, lifetime=duration, now=datetime.now(UTC)))


def _secret(settings: Settings) -> str:
    """The key of the settings, else the one that `ideo dev` keeps. Raises CommandError."""
    if settings.jwt_secret is not None:
        return settings.jwt_secret.get_secret_value()
    try:
        return read_secret(settings.data_dir)
    except FileNotFoundError:
        raise CommandError(
            f"IDEO_JWT_SECRET: is required, because {settings.data_dir} has no key of `ideo dev`: start that"
            " first, and run this command in the same directory",
            exit_code=exit_codes.USAGE,
        ) from None
    except (SecretFileError, OSError) as error:
        raise CommandError(str(error), exit_code=exit_codes.USAGE) from None
