"""Addresses of Redis-protocol servers, checked before they are used.

The library takes any name behind the question mark as an argument of its connection, and fails for one that
is not, with the address in its error.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote, urlsplit

from server.addresses.postgres_parameters import AddressError

#: Options that an address may have. Times, retries and the protocol are the hub's.
OPTIONS = (
    "db",
    "username",
    "password",
    "health_check_interval",
    "socket_keepalive",
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_keyfile",
    "ssl_password",
)
_NAME = re.compile("[a-z_]{1,40}")


def check_redis_address(text: str) -> None:
    """Raises AddressError, whose text has no part of the address but an option's name."""
    # The parser drops line ends, and with them characters of a password.
    if any(character <= " " or character == "\x7f" for character in text):
        raise AddressError("must have spaces and control characters percent-encoded, such as %20 for a space")
    try:
        address = urlsplit(text)
        port = address.port
    except ValueError:
        raise AddressError(
            "must have the characters @ / ? # % and spaces of its password percent-encoded, "
            "and a port that is a number"
        ) from None
    if address.scheme not in ("redis", "rediss") or not address.hostname or port == 0:
        raise AddressError("must be a redis:// or rediss:// address")
    if address.fragment or "@" in address.path or "@" in address.query or address.netloc.count("@") > 1:
        raise AddressError("must have the characters @ / ? # % of its password percent-encoded")
    database = unquote(address.path).strip("/")
    if database and not (database.isascii() and database.isdigit()):
        raise AddressError("must have a number of a database behind its host, such as /0")
    for name, value in parse_qsl(address.query, keep_blank_values=True):
        if name not in OPTIONS:
            shown = f" {name}" if value and _NAME.fullmatch(name) else ""
            raise AddressError(f"has an option{shown} that is none of {', '.join(OPTIONS)}")
        if name.startswith("ssl_") and address.scheme != "rediss":
            raise AddressError(f"has the option {name}, which needs rediss://")
        _check_value(name, value)


def _check_value(name: str, value: str) -> None:
    numbers = ("db", "health_check_interval")
    yes_or_no = ("socket_keepalive", "ssl_check_hostname")
    right = {
        **dict.fromkeys(numbers, value.isascii() and value.isdigit() and len(value) < 6),
        **dict.fromkeys(yes_or_no, value.lower() in ("0", "1", "true", "false", "yes", "no")),
        "ssl_cert_reqs": value in ("none", "optional", "required"),
    }
    if not right.get(name, True):
        raise AddressError(f"has a wrong value of the option {name}")
