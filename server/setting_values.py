"""The types of the settings' values. Errors say what a value must be, never what it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode


def _file(value: Path) -> Path:
    if not (value.is_file() and os.access(value, os.R_OK)):
        raise ValueError("must be a file that can be read")
    return value


def _postgres(value: SecretStr) -> SecretStr:
    if urlsplit(value.get_secret_value()).scheme not in ("postgres", "postgresql"):
        raise ValueError("must be a PostgreSQL address such as postgresql://user:password@host/name")
    return value


def _http(value: str) -> str:
    address = urlsplit(value)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError("must be an http:// or https:// address")
    return value


def _redis(value: SecretStr) -> SecretStr:
    address = urlsplit(value.get_secret_value())
    if address.scheme not in ("redis", "rediss") or not address.hostname:
        raise ValueError("must be a redis:// or rediss:// address")
    return value


def _secret(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value().encode()) < 32:
        raise ValueError("must have at least 32 bytes")
    return value


def _list(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _without_slash(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part.rstrip("/") for part in value)


Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86400)]
ReadableFile = Annotated[Path, AfterValidator(_file)]
PostgresUrl = Annotated[SecretStr, AfterValidator(_postgres)]
HttpUrl = Annotated[str, AfterValidator(_http)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis)]
SharedKey = Annotated[SecretStr, AfterValidator(_secret)]
#: Comma-separated in the environment.
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_list)]
Origins = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_list), AfterValidator(_without_slash)]
