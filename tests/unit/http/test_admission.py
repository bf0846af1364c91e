"""Requests are read in turn, and not all at once."""

from __future__ import annotations

import pytest

from server.domain.rates import Rate
from server.http.admission import MAX_LARGE_BYTES, Admission, credentials_of
from tests.support.hand_clock import until, without_pauses


class Asking:
    """A connection with a request. `told`: what happened to all connections, in order."""

    def __init__(self, name: str, told: list[str]) -> None:
        self.name, self.last_turn, self._told = name, 0, told

    def begin(self) -> None:
        """Note it."""
        self._told.append(self.name)


def enter(
    admission: Admission, connection: Asking, *, caller: str | None = None, presented: str = ""
) -> bool:
    """Enter; without something to present, each connection presents something else."""
    return admission.enter(connection, caller, presented or connection.name)


@without_pauses
async def test_first_requests_beyond_the_burst_begin_newest_and_oldest_by_turns() -> None:
    told: list[str] = []
    admission = Admission(Rate(burst=2, per_s=100))
    began = [enter(admission, Asking(name, told)) for name in "abcdefg"]
    assert began == [True, True, True, False, False, False, False]
    await until(lambda: len(told) == 4)
    assert told == ["g", "d", "f", "e"]


@without_pauses
async def test_connections_that_present_the_same_begin_newest_and_oldest_by_turns() -> None:
    told: list[str] = []
    admission = Admission(Rate(burst=0, per_s=100))
    for name in "abcdef":
        enter(admission, Asking(name, told), presented="the same")
    await until(lambda: len(told) == 5)
    assert told == ["f", "b", "e", "c", "d"]


@without_pauses
async def test_a_stranger_does_not_wait_for_all_connections_that_present_the_same() -> None:
    told: list[str] = []
    admission = Admission(Rate(burst=0, per_s=100))
    for number in range(20):
        enter(admission, Asking(f"eve{number}", told), presented="eve's")
    # Eve had turns before, and has connections that wait.
    await until(lambda: len(told) >= 2)
    had = len(told)
    for number in range(3):
        enter(admission, Asking(f"ann{number}", told), presented="ann's")
    await until(lambda: len(told) == 22)
    assert sorted(name[:3] for name in told[had : had + 6]) == ["ann"] * 3 + ["eve"] * 3


@without_pauses
async def test_a_new_connection_does_not_wait_for_those_that_ask_again_and_again() -> None:
    told: list[str] = []
    admission = Admission(Rate(burst=0, per_s=100))

    class Again(Asking):
        def begin(self) -> None:
            super().begin()
            enter(admission, self)

    for number in range(100):
        kept = Again(f"kept{number}", told)
        kept.last_turn = 1
        enter(admission, kept)
    await until(lambda: len(told) >= 200)
    had = len(told)
    enter(admission, Asking("new", told))
    await until(lambda: "new" in told)
    assert told.index("new") <= had + 1
    # Those that ask again take turns.
    assert len({*told[:99]}) == 99


@without_pauses
async def test_a_connection_that_asks_seldom_comes_before_those_that_ask_all_the_time() -> None:
    told: list[str] = []
    admission = Admission(Rate(burst=0, per_s=100))
    seldom = Asking("seldom", told)
    enter(admission, seldom)
    others = [Asking(f"other{number}", told) for number in range(10)]
    for other in others:
        enter(admission, other)
    await until(lambda: len(told) == 10)
    for other in others:
        enter(admission, other)
    enter(admission, seldom)
    await until(lambda: len(told) == 21)
    assert told.index("seldom") <= 11


@without_pauses
async def test_a_known_caller_does_not_wait_for_strangers_nor_for_other_callers() -> None:
    told: list[str] = []
    admission = Admission(Rate(burst=0, per_s=1), of_caller=Rate(burst=1, per_s=1))
    for number in range(20):
        enter(admission, Asking(f"stranger{number}", told))
        enter(admission, Asking(f"eve{number}", told), caller="eve")
    assert enter(admission, Asking("ann", told), caller="ann")


@without_pauses
async def test_the_requests_of_a_known_caller_begin_at_its_rate_in_order() -> None:
    told: list[str] = []
    admission = Admission(of_caller=Rate(burst=1, per_s=100))
    began = [enter(admission, Asking(name, told), caller="ann") for name in "abcde"]
    assert began == [True, True, False, False, False]
    await until(lambda: len(told) == 3)
    assert told == ["c", "d", "e"]


@without_pauses
async def test_requests_that_did_not_wait_for_an_answer_delay_the_next_one() -> None:
    told: list[str] = []
    admission = Admission(Rate(burst=1, per_s=1))
    assert enter(admission, Asking("first", told))
    for _ in range(16):
        admission.count(None)
    assert not enter(admission, Asking("next", told))


@without_pauses
async def test_a_connection_that_left_takes_no_turn() -> None:
    told: list[str] = []
    admission = Admission(Rate(burst=0, per_s=20))
    first, left, last = Asking("first", told), Asking("left", told), Asking("last", told)
    again = Asking("again", told)
    again.last_turn = 1
    assert [enter(admission, each) for each in (first, left, again, last)] == [True, False, False, False]
    for each in (left, again, first):
        admission.leave(each)
    await until(lambda: told)
    assert told == ["last"]


def test_who_was_identified_by_credentials_is_known_by_them() -> None:
    admission = Admission()
    anns = credentials_of(b"GET / HTTP/1.1\r\nAuthorization: Bearer ann's")
    admission.identified(anns, "ann")
    again = credentials_of(b"POST /other HTTP/1.1\r\nHost: x\r\nauthorization:Bearer ann's\r\n")
    assert admission.caller_of(again) == "ann"
    assert admission.caller_of(credentials_of(b"GET / HTTP/1.1\r\nAuthorization: Bearer eve's")) is None
    assert admission.caller_of(credentials_of(b"GET / HTTP/1.1\r\n")) is None


def test_what_is_kept_of_large_requests_that_wait_is_bounded() -> None:
    admission = Admission()
    assert admission.hold(MAX_LARGE_BYTES)
    assert not admission.hold(1)
    admission.give_back(1)
    assert admission.hold(1)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (b"GET /a HTTP/1.1\r\nAuthorization: Bearer x", b"GET /b HTTP/1.1\r\nauthorization: Bearer x", True),
        (b"GET /a HTTP/1.1\r\nAuthorization: Bearer x", b"GET /a HTTP/1.1\r\nAuthorization: Bearer y", False),
        (b"GET /a?ticket=1 HTTP/1.1\r\nHost: x", b"GET /b?after=2&ticket=1 HTTP/1.1\r\nHost: y", True),
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
def test_credentials_are_in_a_header_or_in_the_address(one: bytes, other: bytes, same: bool) -> None:
    assert (credentials_of(one) == credentials_of(other)) is same


@pytest.mark.parametrize(
    "first_bytes",
    [
        b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a HTTP/1.1\r\nSec-WebSocket-Protocol: ideo.v1\r\n\r\n",
        b"GET /a HTTP/1.1\r\nReferer: /b?ticket=1\r\n\r\n",
        b"GET /a?after=1",
        b"GET /a HTTP/1.1\r\nX: " + b"x" * 8192 + b"\r\nAuthorization: Bearer x\r\n\r\n",
    ],
)
def test_a_request_without_a_token_has_no_credentials(first_bytes: bytes) -> None:
    assert credentials_of(first_bytes) is None
