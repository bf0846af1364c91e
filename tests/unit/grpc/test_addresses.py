"""From which addresses floods of the gRPC port come, and which of them are blocked."""

from __future__ import annotations

import pytest

from server.grpc.addresses import BLOCKED_S, FLOODS, Addresses, address_of

FEW = round(FLOODS.burst)


class Blocking:
    """Addresses, and those that were blocked."""

    def __init__(self, max_addresses: int = 100) -> None:
        self.blocked: list[tuple[str, float]] = []
        self.addresses = Addresses(max_addresses=max_addresses)
        self.addresses.block = lambda address, seconds: self.blocked.append((address, seconds))

    def flood(self, address: str, count: int, now: float = 0.0) -> None:
        for _ in range(count):
            self.addresses.flood(address, now)


def test_an_address_whose_connections_are_closed_again_and_again_is_blocked_for_a_while() -> None:
    blocking = Blocking()
    blocking.flood("192.0.2.1", FEW)
    assert not blocking.addresses.is_blocked("192.0.2.1", 0)
    blocking.flood("192.0.2.1", 10)
    assert blocking.blocked == [("192.0.2.1", BLOCKED_S)]
    assert blocking.addresses.is_blocked("192.0.2.1", BLOCKED_S - 0.1)
    assert not blocking.addresses.is_blocked("192.0.2.1", BLOCKED_S)
    assert not blocking.addresses.is_blocked("192.0.2.2", 0)


def test_who_goes_on_is_blocked_again() -> None:
    blocking = Blocking()
    blocking.flood("192.0.2.1", FEW + 1)
    blocking.flood("192.0.2.1", FEW + 1, now=BLOCKED_S)
    assert len(blocking.blocked) == 2


def test_an_address_that_several_callers_use_is_not_blocked() -> None:
    blocking = Blocking()
    blocking.addresses.identify("192.0.2.1", "ann")
    blocking.addresses.identify("192.0.2.1", "bob")
    blocking.flood("192.0.2.1", 10 * FEW)
    assert blocking.blocked == []


def test_an_address_that_a_second_caller_uses_is_no_longer_blocked() -> None:
    blocking = Blocking()
    blocking.addresses.identify("192.0.2.1", "ann")
    blocking.flood("192.0.2.1", 10 * FEW)
    assert blocking.addresses.is_blocked("192.0.2.1", 1)
    blocking.addresses.identify("192.0.2.1", "bob")
    assert not blocking.addresses.is_blocked("192.0.2.1", 1)


def test_addresses_that_came_longest_ago_are_forgotten() -> None:
    blocking = Blocking(max_addresses=2)
    blocking.flood("192.0.2.1", FEW)
    blocking.flood("192.0.2.2", 1)
    blocking.flood("192.0.2.3", 1)
    blocking.flood("192.0.2.1", 1)
    assert blocking.blocked == []


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:1234", "192.0.2.1"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:1234", "2001:db8:1:2::"),
        ("ipv6:%5Bfe80::1%25eth0%5D:1234", "fe80::"),
        ("ipv6:%5B::ffff:192.0.2.1%5D:1234", "192.0.2.1"),
        ("unix:/run/hub", ""),
        ("unix:", ""),
        ("a", ""),
    ],
)
def test_the_address_of_a_connection(peer: str, address: str) -> None:
    assert address_of(peer) == address
