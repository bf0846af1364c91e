"""Where settings come from besides the environment: files that hold one secret, and a file of lines.

A variable of the environment counts first, then the file that its name with _FILE names, then the line of
the file that IDEO_ENV_FILE names, or of `.env`.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

from dotenv.parser import parse_stream

#: The variable that names the file of lines, and the file that development reads without it.
ENV_FILE, DEFAULT_ENV_FILE = "IDEO_ENV_FILE", ".env"
#: Settings that may be in a file of their own: NAME_FILE is its path.
SECRETS = (
    "DATABASE_URL",
    "DATABASE_DIRECT_URL",
    "IDEO_WAKEUP_URL",
    "IDEO_RUNTIME_EVENTS_URL",
    "IDEO_LANGGRAPH_API_KEY",
    "IDEO_JWT_SECRET",
    "IDEO_TOKEN",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
)
MAX_BYTES = 1 << 20


class SourceError(Exception):
    """A file of settings cannot be used. The text names the variable, or the file, and no value."""


def read_sources(*, dev: bool) -> list[str]:
    """Put the settings that files have into the environment, where it has none. Returns the problems.

    dev: also for a command of development, which reads `.env` of the working directory.
    """
    problems = []
    try:
        _read_lines(dev=dev or os.environ.get("IDEO_ENV") == "dev")
    except SourceError as error:
        problems.append(str(error))
    # After the lines: one of them may name the file of a secret.
    for name in SECRETS:
        try:
            _read_secret(name)
        except SourceError as error:
            problems.append(str(error))
    return problems


def _read_secret(name: str) -> None:
    path = os.environ.get(f"{name}_FILE")
    if path and name not in os.environ:
        text = _text_of(Path(path), f"{name}_FILE").strip()
        if not text:
            raise SourceError(f"{name}_FILE: the file is empty")
        os.environ[name] = text


def _read_lines(*, dev: bool) -> None:
    named = os.environ.get(ENV_FILE)
    path, name = Path(named or DEFAULT_ENV_FILE), ENV_FILE if named else DEFAULT_ENV_FILE
    if not named and not (dev and path.exists()):
        return
    for line in parse_stream(io.StringIO(_text_of(path, name))):
        if line.error or (line.key and line.value is None):
            raise SourceError(f"{name}: line {line.original.line} is not NAME=value")
        if line.key and line.value is not None and not _is_set(line.key):
            os.environ[line.key] = line.value


def _is_set(name: str) -> bool:
    """Whether the environment has the setting, or a file for it."""
    return name in os.environ or (name in SECRETS and f"{name}_FILE" in os.environ)


def _text_of(path: Path, name: str) -> str:
    try:
        with path.expanduser().open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES or b"\0" in text:
            raise SourceError(f"{name}: the file is too large or not a text")
        return text.decode()
    except (OSError, RuntimeError, ValueError):
        raise SourceError(f"{name}: must name a text file that can be read") from None
