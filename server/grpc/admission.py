"""Which gRPC calls go on: those whose turn it is, as long as there are not too many (ADR 0018).

A call that waits for its turn occupies one of its connection's streams, and grpc itself refuses, beside the
event loop, what exceeds these.
"""

from __future__ import annotations

from typing import Any

from server.domain.access.cut_offs import CutOffObserver
from server.domain.access.throttle import Counted, Throttle
from server.domain.errors import LimitReached
from server.domain.rates import Rate

#: Calls of one connection that need no token, or are refused for want of one.
OF_STRANGER = Rate(burst=20, per_s=10)
#: Calls of methods that do not exist: tools try several versions of reflection.
UNKNOWN_METHODS: Counted = (("unknown method", Rate(burst=100, per_s=50)),)
#: The longest wait in seconds, and calls that wait, some 15 KB each.
MAX_WAIT_S, MAX_WAITING = 30.0, 12_000


class Admission(Throttle):
    """The calls of one server. max_calls: how many may go on at a time."""

    def __init__(self, observer: CutOffObserver, *, max_calls: int, max_wait_s: float = MAX_WAIT_S) -> None:
        super().__init__(observer, max_wait_s=max_wait_s, max_waiting=MAX_WAITING)
        self._calls, self._max_calls = 0, max_calls

    def admit(self, context: Any) -> None:
        """Count a call that goes on, until grpc says that it has ended. Raises LimitReached."""
        if self._calls >= self._max_calls:
            raise LimitReached("this replica has reached its limit of calls", retry_after_s=1)
        self._calls += 1
        context.add_done_callback(self._ended)

    def _ended(self, _: object) -> None:
        self._calls -= 1
