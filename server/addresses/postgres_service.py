"""libpq's service files, which give parameters of an address a name."""

from __future__ import annotations

import configparser
import os
from pathlib import Path


def service_parameters(service: str, servicefile: str | None) -> dict[str, str]:
    """The parameters of a service in the file, or in the user's. Raises OSError, ValueError, LookupError."""
    chosen = servicefile or os.environ.get("PGSERVICEFILE")
    path = Path(chosen) if chosen else Path.home() / ".pg_service.conf"
    parser = configparser.RawConfigParser(delimiters=("=",), comment_prefixes=("#",), strict=False)
    try:
        parser.read_string(path.read_text())
    except configparser.Error:
        raise ValueError("the service file cannot be read") from None
    return dict(parser[service])
