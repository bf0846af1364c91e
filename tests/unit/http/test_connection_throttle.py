"""New connections begin in turn, and not all at once."""

from __future__ import annotations

import pytest

from server.domain.rates import Rate
from server.http.connection_throttle import ConnectionThrottle, presented
from tests.support.hand_clock import until


class New:
    """A new connection. `told`: what happened to all connections, in order."""

    def __init__(self, name: str, told: list[str]) -> None:
        self.name, self._told = name, told

    def begin(self) -> None:
        """Note it."""
        self._told.append(self.name)

    def refuse(self) -> None:
        """Note it."""
        self._told.append(f"{self.name} refused")


def enter(throttle: ConnectionThrottle, connection: New, caller: str = "") -> bool:
    """Enter with a token of the caller's; without one, each connection presents something else."""
    header = f"\r\nAuthorization: Bearer {caller}" if caller else ""
    return throttle.enter(connection, f"GET /{connection.name} HTTP/1.1{header}\r\n\r\n".encode())


async def test_connections_beyond_the_burst_begin_newest_and_oldest_by_turns() -> None:
    told: list[str] = []
    throttle = ConnectionThrottle(Rate(burst=2, per_s=100))
    began = [enter(throttle, New(name, told)) for name in "abcdefg"]
    assert began == [True, True, True, False, False, False, False]
    await until(lambda: len(told) == 4)
    assert told == ["g", "d", "f", "e"]


async def test_the_connections_of_one_caller_begin_newest_and_oldest_by_turns() -> None:
    told: list[str] = []
    throttle = ConnectionThrottle(Rate(burst=0, per_s=100))
    for name in "abcdef":
        enter(throttle, New(name, told), "eve")
    await until(lambda: len(told) == 5)
    assert told == ["f", "b", "e", "c", "d"]


async def test_a_caller_does_not_wait_for_all_connections_of_another() -> None:
    told: list[str] = []
    throttle = ConnectionThrottle(Rate(burst=0, per_s=100))
    for number in range(20):
        enter(throttle, New(f"eve{number}", told), "eve")
    # Eve had turns before, and has connections that wait.
    await until(lambda: len(told) >= 2)
    had = len(told)
    for number in range(3):
        enter(throttle, New(f"ann{number}", told), "ann")
    await until(lambda: len(told) == 22)
    assert sorted(name[:3] for name in told[had : had + 6]) == ["ann"] * 3 + ["eve"] * 3


async def test_a_connection_that_left_takes_no_turn() -> None:
    told: list[str] = []
    throttle = ConnectionThrottle(Rate(burst=0, per_s=20))
    first, left, last = New("first", told), New("left", told), New("last", told)
    assert [enter(throttle, each) for each in (first, left, last)] == [True, False, False]
    throttle.leave(left)
    throttle.leave(first)
    await until(lambda: told)
    assert told == ["last"]


async def test_the_connection_that_waits_longest_is_refused_when_too_many_wait() -> None:
    told: list[str] = []
    throttle = ConnectionThrottle(Rate(burst=0, per_s=0.1), max_waiting=2)
    began = [enter(throttle, New(name, told)) for name in "abcd"]
    assert began == [True, False, False, False]
    assert told == ["b refused"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (b"GET /a HTTP/1.1\r\nAuthorization: Bearer x", b"GET /b HTTP/1.1\r\nauthorization: Bearer x", True),
        (b"GET /a HTTP/1.1\r\nAuthorization: Bearer x", b"GET /a HTTP/1.1\r\nAuthorization: Bearer y", False),
        (b"GET /a HTTP/1.1\r\nHost: x", b"GET /a HTTP/1.1\r\nHost: y", True),
        (b"GET /a?ticket=1 HTTP/1.1\r\nHost: x", b"GET /a?ticket=2 HTTP/1.1\r\nHost: x", False),
        (
            b"GET /a HTTP/1.1\r\nSec-WebSocket-Protocol: ideo.v1, bearer.x\r\n",
            b"GET /a HTTP/1.1\r\nSec-WebSocket-Protocol: ideo.v1, bearer.y\r\n",
            False,
        ),
        (
            b"GET /a?ticket=1 HTTP/1.1\r\nSec-WebSocket-Protocol: ideo.v1\r\n",
            b"GET /a?ticket=2 HTTP/1.1\r\nSec-WebSocket-Protocol: ideo.v1\r\n",
            False,
        ),
    ],
)
def test_a_connection_presents_its_token_or_its_address(one: bytes, other: bytes, same: bool) -> None:
    assert (presented(one) == presented(other)) is same
