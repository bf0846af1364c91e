"""How many gRPC calls go on at a time, and how many may wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from server.domain.access.throttle import OF_USER
from server.domain.errors import LimitReached
from server.grpc.admission import MAX_WAITING, UNKNOWN_METHODS, Admission
from server.grpc.app import DEFAULT_LIMITS


class _Unobserved:
    def on_cut_off(self, reason: str) -> None:
        """Nothing."""


class _Call:
    def __init__(self) -> None:
        self._callbacks: list[Callable[[Any], None]] = []

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """As a call of grpc."""
        self._callbacks.append(callback)

    def end(self) -> None:
        """End, as grpc says."""
        for callback in self._callbacks:
            callback(self)


async def test_so_many_calls_go_on_at_a_time() -> None:
    admission = Admission(_Unobserved(), max_calls=2)
    calls = [_Call() for _ in range(4)]
    for call in calls[:2]:
        admission.admit(call)
    with pytest.raises(LimitReached):
        admission.admit(calls[2])
    calls[0].end()
    admission.admit(calls[3])
    with pytest.raises(LimitReached):
        admission.admit(calls[2])


def test_a_flood_finds_room_to_wait() -> None:
    """A flood comes on several connections."""
    assert 10 * DEFAULT_LIMITS.max_streams <= MAX_WAITING
    assert all(rate.per_s <= OF_USER.per_s for _, rate in UNKNOWN_METHODS)
