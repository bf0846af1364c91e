"""`ideo token`: tokens for development."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta

import click

from server.auth.claims import MAX_SUBJECT_CHARS, is_email, is_subject
from server.auth.secret_file import SecretFileError, read_secret
from server.auth.tokens import SharedSecret
from server.cli import exit_codes
from server.cli.environment import read_settings
from server.cli.exit_codes import CommandError
from server.settings.settings import Settings

_LIFETIME = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
#: Ten years: more is a mistake.
MIN_LIFETIME, MAX_LIFETIME = timedelta(seconds=1), timedelta(days=3650)


def run(email: str, *, ttl: str) -> None:
    """Print a token for the user. Raises CommandError."""
    settings = read_settings(env="dev")
    # If it is unset, the hub is the one that `ideo dev` starts, which also reads its settings in development
    # mode.
    if (os.environ.get("IDEO_ENV") or "dev") != "dev":
        raise CommandError(
            "IDEO_ENV: the tokens of this command work only with IDEO_ENV=dev; other hubs accept tokens of"
            " the issuer of IDEO_JWKS_URL",
            exit_code=exit_codes.USAGE,
        )
    lifetime = _lifetime(ttl)
    if not (is_email(email) and is_subject(email)):
        raise CommandError(
            f"--user {email[:MAX_SUBJECT_CHARS]!r} is not an email address of at most {MAX_SUBJECT_CHARS}"
            " printable characters",
            exit_code=exit_codes.USAGE,
        )
    verifier = SharedSecret(_secret(settings), settings.jwt_issuer, settings.jwt_audience)
    click.echo(verifier.issue(email=email, lifetime=lifetime, now=datetime.now(UTC)))


def _lifetime(text: str) -> timedelta:
    """The lifetime of a token. Raises CommandError."""
    written = _LIFETIME.fullmatch(text)
    lifetime = timedelta(**{_UNITS[written[2]]: int(written[1])}) if written else timedelta(0)
    if not MIN_LIFETIME <= lifetime <= MAX_LIFETIME:
        raise CommandError(
            f"--ttl {text!r} is not a lifetime from 1s to {MAX_LIFETIME.days}d: write 30s, 15m, 1h or 7d",
            exit_code=exit_codes.USAGE,
        )
    return lifetime


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
