"""Reading the settings from the environment, with names.py and sources.py.

All mistakes are reported at once, by the name of the environment variable and without its value.
"""

from __future__ import annotations

import os
from typing import Any

from pydantic import ValidationError

from server.settings.names import DEBUG, old_names_in_use
from server.settings.settings import ClientSettings, Settings
from server.settings.sources import ENV_FILE, SECRETS

#: Settings that require others.
_REQUIRES = {
    "IDEO_JWKS_URL": ("IDEO_JWT_ISSUER", "IDEO_JWT_AUDIENCE"),
    "IDEO_GRPC_CERTIFICATE": ("IDEO_GRPC_KEY",),
    "IDEO_GRPC_KEY": ("IDEO_GRPC_CERTIFICATE",),
    "IDEO_GRPC_CLIENT_CA": ("IDEO_GRPC_CERTIFICATE",),
    "IDEO_GRPC_ALLOWED_SANS": ("IDEO_GRPC_CLIENT_CA",),
}


#: What is said of pydantic's kinds of mistakes.
_MISTAKES = {
    "value_error": "{error}",
    "literal_error": "must be {expected}",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "bool_parsing": "must be true or false",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must have {min_length} characters or more",
    "string_too_long": "must have {max_length} characters or fewer",
    "string_pattern_mismatch": "must be a name, or a name and a number such as after_append:3",
}


class SettingsError(Exception):
    """Settings that are wrong. `problems` has a sentence for each mistake."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def known_names() -> frozenset[str]:
    """The names that the hub reads from the environment, except old ones."""
    fields = (*Settings.model_fields.values(), *ClientSettings.model_fields.values())
    files = (f"{name}_FILE" for name in SECRETS)
    return frozenset((*(str(field.validation_alias) for field in fields), *files, ENV_FILE, DEBUG))


def load(*, require: tuple[str, ...] = (), in_prod: tuple[str, ...] = (), **overrides: Any) -> Settings:
    """The settings from the environment; `overrides`, by field name, take precedence.

    require, in_prod: names of variables that must be set, always or unless IDEO_ENV=dev, with those that
    they require. Raises SettingsError with every mistake.
    """
    given: dict[str, Any] = {
        new: os.environ[old] for old, new in old_names_in_use().items() if new not in os.environ
    }
    fields = Settings.model_fields
    given |= {str(fields[name].alias): value for name, value in overrides.items() if value is not None}
    missing = _missing({**os.environ, **given}, require, in_prod)
    try:
        settings = Settings(**given)
    except ValidationError as error:
        raise SettingsError(_problems(error) + missing) from None
    if missing:
        raise SettingsError(missing)
    return settings


def _missing(present: dict[str, Any], require: tuple[str, ...], in_prod: tuple[str, ...]) -> list[str]:
    """A problem for each variable that must be set and is not."""
    required = [*(in_prod if present.get("IDEO_ENV") != "dev" else ()), *require]
    for name, others in _REQUIRES.items():
        if name in required or present.get(name):
            required += others
    return [f"{name}: is required" for name in dict.fromkeys(required) if not present.get(name)]


def _problems(error: ValidationError) -> list[str]:
    """A problem for each mistake, without the wrong value."""
    problems = []
    for mistake in error.errors(include_input=False, include_url=False):
        limits = {name: _shown(limit) for name, limit in mistake.get("ctx", {}).items()}
        text = _MISTAKES.get(mistake["type"], "is not a value of this setting").format(**limits)
        problems.append(f"{mistake['loc'][0]}: {text}" if mistake["loc"] else text)
    return problems


def _shown(limit: object) -> str:
    """A limit of a mistake: a number, the texts that there are to choose from, or an error of ours."""
    if isinstance(limit, float) and limit.is_integer():
        return str(int(limit))
    return str(limit).replace("'", "") if isinstance(limit, str) else str(limit)
