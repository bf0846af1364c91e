"""From which addresses the connections of the gRPC port flood it (ADR 0085).

A client whose connection is closed opens the next one, which brings its calls before anybody can look at one
of them. So an address whose connections are closed again and again is blocked for a while: its new
connections are dropped before grpc has them, and those that exist and on which nobody was identified are
closed with their next call. An address that several callers use, such as a proxy's, is never blocked: one of
them would keep the others out.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Hashable
from urllib.parse import unquote

from server.domain.rates import Rate, TokenBucket

#: Addresses that are remembered.
MAX_ADDRESSES = 20_000
#: Connections of one address that may be closed for their floods before it is blocked.
FLOODS = Rate(burst=5, per_s=0.5)
#: Seconds for which an address is blocked.
BLOCKED_S = 10.0


class _Address:
    """An address. group: of the caller who was identified there; shared: several were."""

    __slots__ = ("blocked_until", "floods", "group", "shared")

    def __init__(self) -> None:
        self.group: Hashable | None = None
        self.shared = False
        self.floods = TokenBucket(FLOODS)
        self.blocked_until = float("-inf")


class Addresses:
    """The addresses of one server's clients: one of IPv4, and 2^64 of IPv6."""

    def __init__(self, *, max_addresses: int = MAX_ADDRESSES) -> None:
        self._max_addresses = max_addresses
        self._addresses: OrderedDict[str, _Address] = OrderedDict()
        #: Blocks new connections of an address for so many seconds.
        self.block: Callable[[str, float], None] = lambda address, seconds: None

    def _of(self, address: str) -> _Address:
        found = self._addresses.get(address)
        if found is None:
            found = self._addresses[address] = _Address()
            if len(self._addresses) > self._max_addresses:
                self._addresses.popitem(last=False)
        else:
            self._addresses.move_to_end(address)
        return found

    def identify(self, address: str, group: Hashable) -> None:
        """A caller was identified on a connection of the address."""
        found = self._of(address)
        found.shared |= found.group not in (None, group)
        found.group = group

    def flood(self, address: str, now: float) -> None:
        """A connection of the address is closed for its flood."""
        found = self._of(address)
        if found.floods.take(1, now) and not found.shared and now >= found.blocked_until:
            found.blocked_until = now + BLOCKED_S
            self.block(address, BLOCKED_S)

    def is_blocked(self, address: str, now: float) -> bool:
        """Whether the address is blocked."""
        found = self._addresses.get(address)
        return found is not None and now < found.blocked_until and not found.shared


def address_of(peer: str) -> str:
    """The address of a connection, by what grpc calls it: `ipv4:192.0.2.1:1234`, or of
    `ipv6:%5B2001:db8::1%5D:1234` the first half, `2001:db8::`. Empty if it has none."""
    host = unquote(peer.partition(":")[2]).rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(address) >> 64 << 64))
