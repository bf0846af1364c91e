"""The parameters of libpq's addresses, and what the hub does with each.

The driver knows only some of libpq's parameters, and sends every other one to the server as a setting, which
the server then refuses. Here each is translated, accepted because it asks for what the driver does anyway, or
refused by its name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping


class AddressError(ValueError):
    """The address is wrong. The text says why, without any part of the address but a parameter's name."""


#: Returns whether a value is right.
Check = Callable[[str], bool]


def _text(value: str) -> bool:
    return True


def _whole(value: str) -> bool:
    return re.fullmatch(r"-?[0-9]{1,9}", value) is not None


def _one_of(*values: str) -> Check:
    return lambda value: value in values


_TLS_VERSION = _one_of("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")

#: Parts of the address itself.
PLACES: Mapping[str, Check] = dict.fromkeys(
    ("host", "hostaddr", "port", "dbname", "user", "password", "passfile", "service", "servicefile"), _text
)
#: What the driver does as libpq does. `target_session_attrs`: the hub writes, and a standby refuses that.
DRIVER: Mapping[str, Check] = {
    "sslmode": _one_of("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": _one_of("postgres", "direct"),
    "sslcert": _text,
    "sslkey": _text,
    "sslpassword": _text,
    "sslrootcert": _text,
    "sslcrl": _text,
    "ssl_min_protocol_version": _TLS_VERSION,
    "ssl_max_protocol_version": _TLS_VERSION,
    "target_session_attrs": _one_of("any", "read-write", "primary"),
    "krbsrvname": _text,
    "gsslib": _one_of("gssapi"),
}
#: What the hub does itself, for each connection or with the server's settings.
OWN: Mapping[str, Check] = {
    "application_name": _text,
    "fallback_application_name": _text,
    "options": _text,
    "connect_timeout": _whole,
    "keepalives": _one_of("0", "1"),
    "keepalives_idle": _whole,
    "keepalives_interval": _whole,
    "keepalives_count": _whole,
    "tcp_user_timeout": _whole,
    "load_balance_hosts": _one_of("disable", "random"),
}
#: Accepted with these values, which ask for what happens anyway.
ONLY: Mapping[str, tuple[str, ...]] = {
    "client_encoding": ("UTF8", "utf8", "UTF-8", "utf-8", "auto"),
    "channel_binding": ("prefer", "disable"),
    "gssencmode": ("disable", "prefer"),
    "gssdelegation": ("0",),
    "sslcompression": ("0", "1"),
    "sslcertmode": ("allow",),
    "sslsni": ("1",),
    "replication": ("false", "off", "no", "0"),
    "min_protocol_version": ("3.0",),
    "max_protocol_version": ("3.0", "3.2", "latest"),
}
#: What would be ignored in silence, though it asks for safety or for an identity.
REFUSED = (
    "require_auth",
    "requirepeer",
    "sslcrldir",
    "sslkeylogfile",
    "scram_client_key",
    "scram_server_key",
    "oauth_issuer",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_scope",
)
#: Other names that addresses use, with what they stand for.
ALIASES = {"database": "dbname"}


def check_parameters(given: Mapping[str, str]) -> dict[str, str]:
    """The parameters that have a value, each checked. Raises AddressError."""
    taken = {**PLACES, **DRIVER, **OWN}
    for name, value in given.items():
        if name in REFUSED:
            raise AddressError(
                f"has the parameter {name}, which the database driver does not support: remove it"
            )
        if name in ONLY:
            if value not in ONLY[name]:
                raise AddressError(
                    f"has a value of the parameter {name} that the database driver does not support: "
                    f"use {' or '.join(ONLY[name])}, or remove it"
                )
        elif name not in taken:
            raise AddressError(
                "has a parameter that PostgreSQL's addresses do not have"
                + (f": {name}" if re.fullmatch("[a-z_]{1,40}", name) else "")
                + "; settings of the server belong into options (options=-c%20name%3Dvalue)"
            )
        elif not taken[name](value):
            raise AddressError(f"has a wrong value of the parameter {name}")
    return {name: value for name, value in given.items() if name in taken}
