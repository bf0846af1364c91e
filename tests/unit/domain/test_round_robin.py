"""Whose item is taken next."""

from __future__ import annotations

import pytest

from server.domain.round_robin import RoundRobin


def test_each_group_has_its_turn() -> None:
    waiting: RoundRobin[str] = RoundRobin()
    for item in ("a1", "a2", "a3", "b1", "b2"):
        waiting.put(item[0], item)
    assert [waiting.take() for _ in range(3)] == ["a1", "b1", "a2"]
    waiting.put("c", "c1")
    assert [waiting.take() for _ in range(len(waiting))] == ["b2", "a3", "c1"]
    with pytest.raises(KeyError):
        waiting.take()
