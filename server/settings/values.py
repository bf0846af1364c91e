"""The types of the settings' values. Errors say what a value must be, never what it is."""

from __future__ import annotations

import os
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from server.addresses.postgres import parse_address
from server.addresses.redis import check_redis_address
from server.domain.crash_points import POINTS
from server.domain.webhooks.targets import AllowedHosts

_PLAIN = re.compile(r"[\x21-\x7e\xa1-\U0010ffff]*")
#: A host name; one whose last label is a number would be an address.
_HOST_NAME = re.compile(
    r"(?>[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?\.)*+(?!\d+\.?\Z)[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?\.?",
    re.IGNORECASE,
)
_DOMAIN = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_HEADER = re.compile(r"\s*[!#$%&'*+.^_`|~0-9A-Za-z-]+\s*=\s*[\x21-\x7e]*( +[\x21-\x7e]+)*\s*")
_HEADER_VALUE = re.compile(r"[!-~]{1,1024}")


def _file(value: Path) -> Path:
    try:
        readable = value.is_file() and os.access(value, os.R_OK)
    except (OSError, ValueError):  # a name that no file can have
        readable = False
    if not readable:
        raise ValueError("must be a file that can be read")
    return value


def _postgres(value: SecretStr) -> SecretStr:
    text = value.get_secret_value().strip()
    parse_address(text).check_files()
    return SecretStr(text)


def http_address(value: str) -> str:
    """The address of an HTTP server, without a slash at its end. Raises ValueError without any part of it."""
    text = value.strip()
    try:
        address = urlsplit(text)
        port = address.port
    except ValueError:
        raise ValueError("must be an http:// or https:// address with a host and a port's number") from None
    if address.scheme not in ("http", "https") or not address.hostname or port == 0:
        raise ValueError("must be an http:// or https:// address")
    # In the path, an "@" is the end of a password with a slash in it.
    if "@" in text:
        raise ValueError("must not contain a user or a password (an @ in a path is %40)")
    if address.query or address.fragment or not _PLAIN.fullmatch(text):
        raise ValueError("must be an address without a query, a fragment or spaces")
    return text


def _server_url(value: str) -> str:
    text = http_address(value).rstrip("/")
    if urlsplit(text).path:
        raise ValueError("must be an address without a path, such as https://grpc.ide.example.com:443")
    return text


def _host(value: str) -> str:
    text = value.strip()
    try:
        return str(ip_address(text))
    except ValueError:
        if _HOST_NAME.fullmatch(text) is None:
            raise ValueError(
                "must be an IP address, such as 0.0.0.0 or ::1, or a name of this machine: no scheme, port "
                "or brackets"
            ) from None
    return text


def _crash_point(value: str) -> str:
    if value.partition(":")[0] not in POINTS:
        raise ValueError("must be a name in server/domain/crash_points.py, such as after_append:3")
    return value


def _redis(value: SecretStr) -> SecretStr:
    text = value.get_secret_value().strip()
    check_redis_address(text)
    return SecretStr(text)


def _origin(value: str) -> str:
    try:
        address = urlsplit(value)
        port = address.port
    except ValueError:
        address, port = urlsplit(""), None
    whole = f"{address.scheme}://{address.netloc}"
    if (
        address.scheme not in ("http", "https")
        or not address.hostname
        or whole != value
        or "@" in value
        or "*" in value
        or port == 0
        or not _PLAIN.fullmatch(value)
    ):
        raise ValueError(
            "must be origins as browsers send them: scheme, host and port, without a path or `*`, "
            "such as https://ide.example.com"
        )
    return value


def _headers(value: SecretStr) -> SecretStr:
    pairs = [pair.strip() for pair in value.get_secret_value().split(",") if pair.strip()]
    if not all(_HEADER.fullmatch(pair) for pair in pairs):
        raise ValueError("must be headers such as name=value,name=value, with percent-encoded values")
    return value


def _header_value(value: SecretStr) -> SecretStr:
    if not _HEADER_VALUE.fullmatch(value.get_secret_value()):
        raise ValueError("must be visible ASCII characters, without spaces")
    return value


def _secret(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value().encode()) < 32:
        raise ValueError("must have at least 32 bytes")
    return value


def _list(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _origins(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_origin(part.rstrip("/")) for part in value)


def _domains(value: tuple[str, ...]) -> tuple[str, ...]:
    if not all(_DOMAIN.fullmatch(domain) for domain in value):
        raise ValueError("must be whole domains such as example.com, without `@` or `*`")
    return value


def _receivers(value: tuple[str, ...]) -> tuple[str, ...]:
    AllowedHosts(value)
    return value


Host = Annotated[str, AfterValidator(_host)]
Port = Annotated[int, Field(ge=0, le=65535)]
CrashPoint = Annotated[str, Field(pattern=r"^[a-z_]+(:[1-9][0-9]*)?$"), AfterValidator(_crash_point)]
Seconds = Annotated[float, Field(gt=0, le=86400)]
ReadableFile = Annotated[Path, AfterValidator(_file)]
PostgresUrl = Annotated[SecretStr, AfterValidator(_postgres)]
HttpUrl = Annotated[str, AfterValidator(http_address)]
ServerUrl = Annotated[str, AfterValidator(_server_url)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis)]
Headers = Annotated[SecretStr, AfterValidator(_headers)]
HeaderValue = Annotated[SecretStr, AfterValidator(_header_value)]
SharedKey = Annotated[SecretStr, AfterValidator(_secret)]
#: Comma-separated in the environment.
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_list)]
Domains = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_list), AfterValidator(_domains)]
Receivers = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_list), AfterValidator(_receivers)]
Origins = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_list), AfterValidator(_origins)]
