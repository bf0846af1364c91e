"""Whose turn it is among known callers and strangers, and what is dropped."""

from __future__ import annotations

import pytest

from server.domain.arrivals import Arrivals, Stranger


def arrivals(*, max_strangers: int = 100, max_of_caller: int = 100) -> Arrivals[str]:
    return Arrivals(max_strangers=max_strangers, max_of_caller=max_of_caller)


def taken(queue: Arrivals[str]) -> list[str]:
    return [queue.take() for _ in range(len(queue))]


def test_callers_take_turns_and_strangers_have_half_of_them() -> None:
    queue = arrivals()
    for name in ("a1", "a2", "a3", "b1"):
        queue.put(name[0], name)
    for number in range(3):
        queue.put(Stranger(number), f"s{number}")
    assert taken(queue) == ["a1", "s2", "b1", "s0", "a2", "s1", "a3"]
    assert len(queue) == 0
    with pytest.raises(KeyError):
        queue.take()


def test_the_newest_stranger_does_not_wait_for_a_flood() -> None:
    queue = arrivals(max_strangers=2000)
    for number in range(1000):
        queue.put(Stranger(number), f"s{number}")
    first = [queue.take() for _ in range(10)]
    queue.put(Stranger("new"), "new")
    assert "new" in [queue.take() for _ in range(2)]
    # None is overtaken forever.
    assert {"s0", "s1", "s2"} <= set(first)


def test_a_stranger_that_asks_again_and_again_is_not_the_newest_each_time() -> None:
    queue = arrivals()
    for number in range(3):
        queue.put(Stranger("busy"), f"busy{number}")
    queue.put(Stranger("other"), "other")
    assert taken(queue) == ["other", "busy0", "busy1", "busy2"]


def test_what_waits_of_a_stranger_is_a_callers_once_the_caller_is_known() -> None:
    queue = arrivals()
    queue.put(Stranger(1), "1")
    queue.put(Stranger(2), "2")
    queue.identify(2, "a")
    queue.identify(3, "b")
    assert len(queue) == 2
    assert taken(queue) == ["2", "1"]


def test_of_connections_that_turn_out_to_be_one_callers_no_more_waits_than_the_caller_may_have() -> None:
    queue = arrivals(max_of_caller=3)
    dropped = list[str]()
    for connection in range(4):
        for number in range(2):
            queue.put(Stranger(connection), f"{connection}.{number}")
        dropped += queue.identify(connection, "a")
    assert taken(queue) == ["0.0", "0.1", "1.0"]
    assert dropped == ["1.1", "2.0", "2.1", "3.0", "3.1"]


def test_beyond_the_bounds_the_oldest_of_strangers_and_the_newest_of_a_caller_are_dropped() -> None:
    queue = arrivals(max_strangers=2, max_of_caller=1)
    assert queue.put("a", "a1") is None
    assert queue.put("a", "a2") == "a2"
    assert queue.put("b", "b1") is None
    assert queue.put(Stranger(1), "s1") is None
    assert queue.put(Stranger(2), "s2") is None
    assert queue.put(Stranger(3), "s3") == "s1"
    assert sorted(taken(queue)) == ["a1", "b1", "s2", "s3"]


def test_a_strangers_only_item_is_not_dropped_while_others_have_several() -> None:
    queue = arrivals(max_strangers=4)
    assert queue.put(Stranger("one"), "one") is None
    for number in range(3):
        assert queue.put(Stranger("many"), f"many{number}") is None
    assert queue.put(Stranger("many"), "many3") == "many3"
    assert queue.put(Stranger("new"), "new") == "many2"
    assert sorted(taken(queue)) == ["many0", "many1", "new", "one"]


def test_the_stranger_that_has_most_loses_the_newest_item() -> None:
    queue = arrivals(max_strangers=6)
    for number in range(5):
        assert queue.put(Stranger("many"), f"many{number}") is None
    assert queue.put(Stranger("few"), "few0") is None
    # One more of its own would still be fewer than the other has.
    assert queue.put(Stranger("few"), "few1") == "many4"
    assert queue.put(Stranger("few"), "few2") == "many3"
    assert queue.put(Stranger("few"), "few3") == "few3"
    assert len(queue) == 6


def test_a_connection_that_had_a_turn_is_not_new_again() -> None:
    queue = arrivals()
    queue.put(Stranger("waits"), "waits")
    queue.put(Stranger("seen", is_new=False), "seen")
    queue.put(Stranger("new"), "new")
    assert taken(queue) == ["new", "waits", "seen"]


def test_what_waits_of_a_connection_that_is_closed_is_forgotten() -> None:
    queue = arrivals(max_strangers=3)
    for name in ("a0", "b0", "a1"):
        queue.put(Stranger(name[0]), name)
    assert list(queue.discard("a")) == ["a0", "a1"]
    assert list(queue.discard("a")) == []
    for name in ("c0", "c1"):
        assert queue.put(Stranger("c"), name) is None
    assert sorted(taken(queue)) == ["b0", "c0", "c1"]


def test_each_caller_has_no_more_than_it_leaves_free() -> None:
    queue = Arrivals[str](max_strangers=1, max_of_caller=100, max_known=100)
    kept = {name: sum(queue.put(name, name) is None for _ in range(100)) for name in "abcd"}
    assert kept == {"a": 50, "b": 25, "c": 13, "d": 6}
    for number in range(100):
        assert queue.put(f"more{number}", "first") is None
