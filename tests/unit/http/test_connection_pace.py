"""New connections begin in turn, and not all at once."""

from __future__ import annotations

from server.domain.rates import Rate
from server.http.connection_pace import ConnectionPace
from tests.support.hand_clock import until


class New:
    """A new connection. `told`: what happened to all connections, in order."""

    def __init__(self, name: str, told: list[str]) -> None:
        self._name, self._told = name, told

    def begin(self) -> None:
        """Note it."""
        self._told.append(self._name)

    def refuse(self) -> None:
        """Note it."""
        self._told.append(f"{self._name} refused")


async def test_connections_beyond_the_burst_begin_newest_and_oldest_by_turns() -> None:
    told: list[str] = []
    pace = ConnectionPace(Rate(burst=2, per_s=100))
    began = [pace.enter(New(name, told)) for name in "abcdefg"]
    assert began == [True, True, True, False, False, False, False]
    await until(lambda: len(told) == 4)
    assert told == ["g", "d", "f", "e"]


async def test_a_connection_that_left_takes_no_turn() -> None:
    told: list[str] = []
    pace = ConnectionPace(Rate(burst=0, per_s=20))
    first, left, last = New("first", told), New("left", told), New("last", told)
    assert [pace.enter(each) for each in (first, left, last)] == [True, False, False]
    pace.leave(left)
    pace.leave(first)
    await until(lambda: told)
    assert told == ["last"]


async def test_a_connection_is_refused_when_too_many_wait() -> None:
    told: list[str] = []
    pace = ConnectionPace(Rate(burst=0, per_s=0.1), max_waiting=2)
    began = [pace.enter(New(name, told)) for name in "abcd"]
    assert began == [True, False, False, False]
    assert told == ["d refused"]
