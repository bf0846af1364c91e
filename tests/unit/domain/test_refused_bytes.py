"""The budget of large requests that are refused."""

from __future__ import annotations

from uuid import uuid4

import pytest

from server.domain.access.refused_bytes import BURST_BYTES, BYTES_PER_S, RefusedBytes
from server.domain.errors import LimitReached
from tests.support.hand_clock import HandClock


def test_a_caller_whose_large_requests_are_refused_waits_and_others_do_not() -> None:
    clock, caller, other = HandClock(), uuid4(), uuid4()
    refused = RefusedBytes(clock)
    clock.move(1000)
    for _ in range(2):
        refused.check(caller)
        refused.count(caller, BURST_BYTES)
    with pytest.raises(LimitReached) as caught:
        refused.check(caller)
    assert caught.value.retry_after_s == BURST_BYTES / BYTES_PER_S
    refused.check(other)
    clock.move(BURST_BYTES / BYTES_PER_S)
    refused.check(caller)
