"""Making connections: libpq's parameters of an address, applied to each connection.

Whatever goes wrong while a connection is made means that the database cannot be reached as asked, and is
raised as an OSError, so that it is waited for and never ends the hub.
"""

from __future__ import annotations

import random
import socket
from typing import Any

import asyncpg

from server.addresses.postgres import PostgresAddress, parse_address
from server.addresses.postgres_parameters import AddressError

#: Options of TCP, by libpq's parameter; those that this system has.
_TCP_OPTIONS = {
    "keepalives_idle": "TCP_KEEPIDLE",
    "keepalives_interval": "TCP_KEEPINTVL",
    "keepalives_count": "TCP_KEEPCNT",
    "tcp_user_timeout": "TCP_USER_TIMEOUT",
}


#: Answers to settings that are unknown, malformed or have a wrong value.
_SETTING_REFUSED = ("42704", "42601", "42602", "22023")


#: The answer of a server that starts, stops or recovers.
_STARTING = "57P03"


class ConnectionRefused(ConnectionError):
    """The server answered, and refused the connection. `sqlstate`: its code; `reason`: its name."""

    def __init__(self, sqlstate: str, reason: str) -> None:
        super().__init__(f"the server refused the connection: {reason}")
        self.sqlstate, self.reason = sqlstate, reason

    @property
    def options_refused(self) -> bool:
        """Whether the reason is a setting of the server in the address's options."""
        return self.sqlstate in _SETTING_REFUSED


async def connect(
    dsn: str,
    *,
    timeout_s: float,
    application_name: str = "ide-orchestrator",
    command_timeout_s: float | None = None,
    statement_cache_size: int = 0,
) -> Any:
    """A connection to the address. Raises OSError, or an error of the driver that `db.errors` knows."""
    try:
        address = parse_address(dsn)
    except AddressError as error:
        raise ConnectionError(str(error)) from None
    return await connect_to(
        address,
        timeout=address.connect_timeout_s(timeout_s),
        command_timeout=command_timeout_s,
        statement_cache_size=statement_cache_size,
        server_settings=address.server_settings(application_name),
    )


async def connect_to(address: PostgresAddress, **driver: Any) -> Any:
    """A connection to a checked address; `driver`: more arguments of the driver. Raises as `connect`.

    Each host has the whole `timeout`, as with libpq: one that does not answer does not hide the next.
    """
    arguments = address.driver_arguments()
    if address.parameters.get("load_balance_hosts") == "random":
        arguments |= _shuffled(arguments)
    *hosts, last = _by_host(arguments)
    for host in hosts:
        try:
            return await _connect_to_host(address, host | driver)
        except ConnectionRefused as refused:
            if refused.sqlstate != _STARTING:
                raise
        except (OSError, asyncpg.TargetServerAttributeNotMatched):
            continue
    return await _connect_to_host(address, last | driver)


async def _connect_to_host(address: PostgresAddress, arguments: dict[str, Any]) -> Any:
    try:
        connection = await asyncpg.connect(**arguments)
    except asyncpg.PostgresError as error:
        raise ConnectionRefused(error.sqlstate or "", type(error).__name__) from error
    except (ValueError, LookupError, RuntimeError) as error:
        raise ConnectionError("the driver cannot use the address") from error
    _set_options(connection, address)
    return connection


def _by_host(arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """The arguments for each host, with its port."""
    hosts, ports = arguments.get("host", []), arguments.get("port", [])
    if len(hosts) < 2:
        return [arguments]
    return [
        arguments | {"host": [host]} | ({"port": [ports[index % len(ports)]]} if ports else {})
        for index, host in enumerate(hosts)
    ]


def _shuffled(arguments: dict[str, Any]) -> dict[str, Any]:
    """The hosts in another order, with their ports."""
    hosts, ports = arguments.get("host", []), arguments.get("port", [])
    order = random.sample(range(len(hosts)), len(hosts))
    mixed = {"host": [hosts[index] for index in order]}
    return mixed | ({"port": [ports[index] for index in order]} if ports else {})


def _set_options(connection: Any, address: PostgresAddress) -> None:
    """Set what the address asks of the connection's socket. The driver has no argument for it."""
    asked = {name: value for name, value in address.parameters.items() if name in _TCP_OPTIONS}
    keepalives = address.parameters.get("keepalives", "1" if asked else "0")
    opened = connection._transport.get_extra_info("socket")
    if opened is None or opened.family not in (socket.AF_INET, socket.AF_INET6):
        return
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(keepalives))
    for name, value in asked.items():
        option = getattr(socket, _TCP_OPTIONS[name], None)
        if option is not None and int(value) > 0:
            opened.setsockopt(socket.IPPROTO_TCP, option, int(value))
