"""Types of settings: each checks one kind of value, and its error says what the value must be.

An empty address or key is allowed and means none.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo
from pydantic_settings import NoDecode


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _split_origins(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(origin.rstrip("/") for origin in _split(value))
    return value


def _readable(value: Path) -> Path:
    if not (value.is_file() and os.access(value, os.R_OK)):
        raise ValueError("must be a file that can be read")
    return value


def _postgres(value: SecretStr) -> SecretStr:
    if value and urlsplit(value.get_secret_value()).scheme not in ("postgres", "postgresql"):
        raise ValueError("must be a PostgreSQL address such as postgresql://user:password@host/name")
    return value


def _redis(value: SecretStr) -> SecretStr:
    address = urlsplit(value.get_secret_value())
    if value and (address.scheme not in ("redis", "rediss") or not address.hostname):
        raise ValueError("must be a redis:// or rediss:// address")
    return value


def _http(value: str) -> str:
    if value and (urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname):
        raise ValueError("must be an http:// or https:// address")
    return value


def _https(value: str, info: ValidationInfo) -> str:
    address = urlsplit(value)
    here = address.hostname in ("127.0.0.1", "::1", "localhost") and info.data.get("env") == "dev"
    if value and address.scheme != "https" and not (here and address.scheme == "http"):
        raise ValueError("must be an https:// address (IDEO_ENV=dev: or http:// on this machine)")
    return value


def _long_enough(value: SecretStr) -> SecretStr:
    if value and len(value.get_secret_value().encode()) < 32:
        raise ValueError("must have at least 32 bytes")
    return value


#: A TCP port; 0 is a free one.
Port = Annotated[int, Field(ge=0, le=65535)]
#: A duration of at most a day.
Seconds = Annotated[float, Field(gt=0, le=86400)]
#: Texts, separated by commas in the environment.
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
#: Origins of browsers, separated by commas in the environment, without the slash at their end.
Origins = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_origins)]
#: A file that exists and can be read.
ReadableFile = Annotated[Path, AfterValidator(_readable)]
#: The address of a PostgreSQL database. Secret: it may hold a password.
PostgresUrl = Annotated[SecretStr, AfterValidator(_postgres)]
#: The address of a Redis-protocol server. Secret: it may hold a password.
RedisUrl = Annotated[SecretStr, AfterValidator(_redis)]
#: A web address.
HttpUrl = Annotated[str, AfterValidator(_http)]
#: A web address whose answers nobody on the way can change. The field `env` must come first.
HttpsUrl = Annotated[str, AfterValidator(_https), AfterValidator(_http)]
#: A key for HS256.
Hs256Key = Annotated[SecretStr, AfterValidator(_long_enough)]
