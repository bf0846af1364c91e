"""Blocked addresses: the kernel drops their new connections, and nobody else's."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from server.grpc.blocked_addresses import MAX_BLOCKED, BlockedAddresses
from tests.support.hand_clock import PATIENCE_S, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the filter is Linux's")
#: Seconds for which an address is blocked: less than a client waits before it sends its first packet again.
SHORT_S = 0.5


class Port:
    """A port on which connections are accepted, and the addresses that are blocked there."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._blocked = BlockedAddresses({number})

    async def connect(self, source: str) -> None:
        """Connect from an address of this machine's, and leave."""
        host = "::1" if ":" in source else "127.0.0.1"
        _, writer = await asyncio.open_connection(host, self._number, local_addr=(source, 0))
        writer.transport.abort()

    async def block(self, *addresses: str) -> None:
        """Block addresses for a short time."""
        for each in addresses:
            self._blocked.add(each, SHORT_S)
        await until(lambda: self._blocked.applied)


@asynccontextmanager
async def a_port(host: str) -> AsyncIterator[Port]:
    def leave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    both = host == "::"
    family = socket.AF_INET6 if both else socket.AF_INET
    listener = socket.create_server((host, 0), family=family, dualstack_ipv6=both)
    async with asyncio.timeout(PATIENCE_S), await asyncio.start_server(leave, sock=listener):
        yield Port(listener.getsockname()[1])


async def test_a_connection_from_a_blocked_address_waits_until_it_is_blocked_no_longer() -> None:
    async with a_port("127.0.0.1") as port:
        await port.connect("127.0.0.2")
        await port.block(*(f"192.0.2.{number}" for number in range(MAX_BLOCKED)), "2001:db8::", "127.0.0.2")
        waiting = asyncio.create_task(port.connect("127.0.0.2"))
        await port.connect("127.0.0.1")
        await port.connect("127.0.0.3")
        assert not waiting.done()
        await waiting


async def test_a_port_of_both_versions_has_addresses_of_both_blocked() -> None:
    async with a_port("::") as port:
        await port.block("127.0.0.2", "2001:db8::")
        waiting = asyncio.create_task(port.connect("127.0.0.2"))
        await port.connect("::1")
        await port.connect("127.0.0.1")
        assert not waiting.done()
        await waiting
        # What one client has of IPv6 is half of an address.
        await port.block("::")
        waiting = asyncio.create_task(port.connect("::1"))
        await port.connect("127.0.0.1")
        assert not waiting.done()
        await waiting


async def test_connections_of_a_blocked_address_that_exist_go_on() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()

    async with asyncio.timeout(PATIENCE_S), await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        number = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", number, local_addr=("127.0.0.2", 0))
        await Port(number).block("127.0.0.2")
        writer.write(b"still here\n")
        assert await reader.readline() == b"still here\n"
        writer.close()
