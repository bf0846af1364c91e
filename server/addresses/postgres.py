"""PostgreSQL's addresses, as libpq reads them, and the driver's arguments for them.

Errors never contain a value: a password may be anywhere in an address that is malformed.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode

from server.addresses.postgres_parameters import ALIASES, DRIVER, AddressError, check_parameters
from server.addresses.postgres_service import service_parameters

_SCHEME = re.compile(r"postgres(ql)?://")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")
_HOST = re.compile(r"[^\s,\x00-\x1f\x7f]{1,253}")
_UNENCODED = (
    "must have the characters @ / ? # % and spaces of its user and password percent-encoded, "
    "such as %23 for #"
)
#: Parameters that name files, and those that the driver takes in an address alone.
_FILES = ("passfile", "sslcert", "sslkey", "sslrootcert", "sslcrl")
_TLS = tuple(name for name in DRIVER if name.startswith("ssl"))
MAX_SECONDS = 86400
SYSTEM_ROOTS = "system"


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """A checked address. `parameters`: libpq's, without those that ask for what happens anyway."""

    hosts: tuple[str, ...]
    ports: tuple[int, ...]
    parameters: Mapping[str, str]

    def places(self) -> str:
        """Hosts and ports, for people; empty for an address without a host."""
        ports = self.ports or (5432,)
        named = (f"[{host}]" if ":" in host else host for host in self.hosts)
        return ", ".join(
            host if host.startswith("/") else f"{host}:{ports[index % len(ports)]}"
            for index, host in enumerate(named)
        )

    def driver_arguments(self) -> dict[str, Any]:
        """The arguments of asyncpg's `connect` for this address, except its timeout."""
        given = self.parameters
        arguments: dict[str, Any] = {
            "user": given.get("user"),
            "password": given.get("password"),
            "database": given.get("dbname"),
            "passfile": given.get("passfile"),
            "target_session_attrs": given.get("target_session_attrs"),
            "krbsrvname": given.get("krbsrvname"),
            "gsslib": given.get("gsslib"),
        }
        if self.hosts:
            arguments["host"] = list(self.hosts)
        if self.ports:
            arguments["port"] = list(self.ports) if self.hosts else self.ports[0]
        tls = {name: given[name] for name in _TLS if name in given}
        if tls.get("sslrootcert") == SYSTEM_ROOTS:
            arguments["ssl"] = _system_roots(tls)
            tls = {name: value for name, value in tls.items() if name == "sslnegotiation"}
        if tls:
            arguments["dsn"] = f"postgresql://?{urlencode(tls)}"
        return {name: value for name, value in arguments.items() if value is not None}

    def server_settings(self, application_name: str) -> dict[str, str]:
        """The server's settings for the connection; `application_name` unless the address has one."""
        given = self.parameters
        name = given.get("application_name") or given.get("fallback_application_name") or application_name
        return {"application_name": name} | ({"options": given["options"]} if "options" in given else {})

    def connect_timeout_s(self, default_s: float) -> float:
        """How long a connection may take to be made. libpq's zero, without a limit, is the default here."""
        asked = int(self.parameters.get("connect_timeout", "0"))
        return float(min(asked, MAX_SECONDS)) if asked > 0 else default_s

    def check_files(self) -> None:
        """Raises AddressError when a file that the address names cannot be read."""
        for name in _FILES:
            path = self.parameters.get(name)
            if path is None or (name == "sslrootcert" and path == SYSTEM_ROOTS):
                continue
            if not (Path(path).is_file() and os.access(path, os.R_OK)):
                raise AddressError(f"has the parameter {name}, which must be a file that can be read")
            if name == "passfile" and Path(path).stat().st_mode & 0o077:
                raise AddressError(
                    "has the parameter passfile, a file that only its owner may read (chmod 600)"
                )


def _system_roots(tls: Mapping[str, str]) -> ssl.SSLContext:
    """TLS with the authorities that the operating system trusts."""
    context = ssl.create_default_context()
    if "sslcert" in tls:
        context.load_cert_chain(tls["sslcert"], tls.get("sslkey"), tls.get("sslpassword", ""))
    if tls.get("sslnegotiation") == "direct":
        context.set_alpn_protocols(["postgresql"])
    return context


def parse_address(address: str) -> PostgresAddress:
    """The address, checked. Raises AddressError."""
    scheme = _SCHEME.match(address)
    if scheme is None:
        raise AddressError("must be a PostgreSQL address such as postgresql://user:password@host/name")
    rest = address[scheme.end() :]
    place, question, query = rest.partition("?")
    authority, _, path = place.partition("/")
    user_info, at, host_list = authority.rpartition("@")
    # An "@" that comes later, or twice, belonged to the user or the password.
    if "#" in rest or "@" in user_info or "@" in path or ("@" in query and (not at or "/" in query)):
        raise AddressError(_UNENCODED)
    user, _, password = user_info.partition(":")
    given = {"user": _decoded(user), "password": _decoded(password), "dbname": _decoded(path)}
    given = {name: value for name, value in given.items() if value}
    asked = _query_parameters(query) if question else {}
    if host_list:
        given["host"], given["port"] = _host_list(host_list, had_user=bool(at))
    given |= asked
    given = {**_of_service(given), **given}
    return _address(check_parameters(given))


def _decoded(text: str) -> str:
    if _ESCAPE.search(text) or any(c <= " " or c == "\x7f" for c in text):
        raise AddressError(_UNENCODED)
    return unquote(text)


def _query_parameters(query: str) -> dict[str, str]:
    """The parameters behind the question mark, none or with an `&` after the last one, as libpq takes them;
    the last of a name counts."""
    given = {}
    for pair in query.removesuffix("&").split("&") if query else ():
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise AddressError(
                "has a parameter without a value behind its question mark, "
                "or a question mark in its password, which is %3F there"
            )
        # As in libpq; any other value of `ssl` is refused with the parameters that do not exist.
        name, value = ("sslmode", "require") if pair == "ssl=true" else (_decoded(name), _decoded(value))
        if value:
            given[ALIASES.get(name, name)] = value
    return given


def _host_list(text: str, *, had_user: bool) -> tuple[str, str]:
    """The parameters host and port for the hosts of an address, such as `a:1,[::1]:2,c`."""
    hosts, ports = [], []
    for one in text.split(","):
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:]*)(?::([^:]*))?", one)
        if match is None:
            raise AddressError("has a host that cannot be read")
        port = match[2] or ""
        if port and not _is_port(port):
            # Without a user, what looks like a port may be the beginning of a password.
            raise AddressError("has a port that is not a number from 1 to 65535" if had_user else _UNENCODED)
        hosts.append(_decoded(match[1]).strip("[]"))
        ports.append(port)
    return ",".join(hosts), ",".join(ports) if any(ports) else ""


def _is_port(text: str) -> bool:
    return re.fullmatch("[0-9]{1,5}", text) is not None and 0 < int(text) < 65536


def _of_service(given: Mapping[str, str]) -> dict[str, str]:
    """The parameters of the service that the address names. Raises AddressError."""
    if "service" not in given:
        return {}
    try:
        found = service_parameters(given["service"], given.get("servicefile"))
    except (OSError, ValueError, LookupError):
        raise AddressError(
            "has the parameter service, which is in no service file that can be read "
            "(servicefile, PGSERVICEFILE or ~/.pg_service.conf)"
        ) from None
    return {ALIASES.get(name, name): value for name, value in found.items() if value}


def _address(given: dict[str, str]) -> PostgresAddress:
    """The address of checked parameters. Raises AddressError."""
    names = given.get("host", "").split(",") if given.get("host") else []
    if given.get("hostaddr"):
        if given.get("sslmode") == "verify-full" and names:
            raise AddressError("has the parameter hostaddr with sslmode=verify-full: set host alone")
        names = given["hostaddr"].split(",")
    ports = given.get("port", "").split(",") if given.get("port") else []
    if any(port and not _is_port(port) for port in ports):
        raise AddressError("has a wrong value of the parameter port")
    if len(ports) not in (0, 1, max(len(names), 1)):
        raise AddressError("must have one port, or one for each host")
    if any(not _HOST.fullmatch(name) or not _idna(name) for name in names):
        raise AddressError("has a host that cannot be read")
    if given.get("sslnegotiation") == "direct" and given.get("sslmode") not in (
        "require",
        "verify-ca",
        "verify-full",
    ):
        raise AddressError("has the parameter sslnegotiation=direct, which needs sslmode=require or stricter")
    if given.get("sslrootcert") == SYSTEM_ROOTS:
        if given.get("sslmode", "verify-full") != "verify-full":
            raise AddressError("has the parameter sslrootcert=system, which needs sslmode=verify-full")
        given = {**given, "sslmode": "verify-full"}
    numbers = [int(port or "5432") for port in ports]
    if len(numbers) == 1:
        numbers *= max(len(names), 1)
    return PostgresAddress(tuple(names), tuple(numbers), given)


def _idna(host: str) -> bool:
    """Whether the resolver can be asked for the host; a folder of a socket always."""
    if host.startswith("/"):
        return True
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True
