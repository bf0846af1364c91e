"""How many gRPC calls go on at a time, and how many may wait."""

from __future__ import annotations

import pytest

from server.domain.access.turns import OF_USER
from server.domain.errors import LimitReached
from server.grpc.admission import MAX_WAITING, UNKNOWN_METHODS, Admission
from server.grpc.app import DEFAULT_LIMITS


class _Unobserved:
    def on_cut_off(self, reason: str) -> None:
        """Nothing."""


async def test_so_many_calls_go_on_at_a_time() -> None:
    admission = Admission(_Unobserved(), max_calls=2)
    with admission.place():
        with admission.place(), pytest.raises(LimitReached), admission.place():
            pass
        with admission.place():
            pass


def test_a_flood_finds_room_to_wait() -> None:
    """A flood comes on several connections."""
    assert 10 * DEFAULT_LIMITS.max_streams <= MAX_WAITING
    assert all(rate.per_s <= OF_USER.per_s for _, rate in UNKNOWN_METHODS)
