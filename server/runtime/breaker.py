"""The breaker around the calls to the runtime: gobreaker's rules with the contract's numbers (ADR 0012).

A pure state machine on an injected clock: no task, no waiting. Closed, it counts, and opens after several
failures in a row; those of one thread count once until a call about it succeeds. Open, it refuses every call
until its time is over. Half open, it admits a few calls: it closes when all of them succeed and opens again
when one fails. Each change of state, and each interval of the closed state, begins a new generation; calls
that an older one admitted no longer count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from server.domain.errors import RuntimeRefused, RuntimeUnavailable

BreakerState = Literal["closed", "half_open", "open"]

_FIRST_SERVER_ERROR = 500
#: Calls that the half-open state admits, and successes in a row that close it.
_MAX_REQUESTS = 3
#: Failures in a row that the closed state tolerates; one more opens it.
_MAX_FAILURES = 5
#: Seconds after which each state ends: the closed one begins to count anew.
_LASTS_S = {"closed": 60.0, "open": 30.0, "half_open": math.inf}
#: Threads whose last call failed that are remembered; the oldest are forgotten.
_MAX_FAILING_THREADS = 10_000


@dataclass(slots=True)
class BreakerCounts:
    """Calls admitted since the generation began, and their outcomes."""

    requests: int = 0
    successes: int = 0
    failures: int = 0
    successes_in_a_row: int = 0
    failures_in_a_row: int = 0


class Breaker:
    """Whether the runtime may be called now. One per process; not for several threads. monotonic: the clock,
    in seconds."""

    def __init__(self, monotonic: Callable[[], float], *, name: str = "deepagents-runtime") -> None:
        self.name = name
        self._monotonic = monotonic
        self._generation = 0
        #: The threads whose last call was answered by a failure, in the order in which they began to fail.
        self._failing: dict[str, None] = {}
        self._enter("closed")

    @property
    def state(self) -> BreakerState:
        """The state now."""
        self._advance()
        return self._state

    @property
    def counts(self) -> BreakerCounts:
        """A copy of the counts of the current generation: what the rules work on, which `state` alone does
        not show."""
        self._advance()
        return replace(self._counts)

    def check(self) -> None:
        """Raise RuntimeUnavailable when a call would be refused now. Admits none."""
        state = self.state
        if state == "open":
            left = max(1, math.ceil(self._ends_at - self._monotonic()))
            raise RuntimeUnavailable(
                "the runtime failed several times in a row and is left alone for a while",
                sent=False,
                retry_after_s=left,
            )
        if state == "half_open" and self._counts.requests >= _MAX_REQUESTS:
            raise RuntimeUnavailable(
                "the runtime failed several times in a row and is being tried again",
                sent=False,
                retry_after_s=1,
            )

    def admit(self) -> int:
        """Admit a call. Returns the generation to report its outcome with. Raises RuntimeUnavailable."""
        self.check()
        self._counts.requests += 1
        return self._generation

    def succeeded(self, generation: int, thread_id: str | None = None) -> None:
        """A call was answered. thread_id: the thread that it was about, if any."""
        if thread_id is not None:
            self._failing.pop(thread_id, None)
        if not self._is_current(generation):
            return
        counts = self._counts
        counts.successes += 1
        counts.successes_in_a_row += 1
        counts.failures_in_a_row = 0
        if self._state == "half_open" and counts.successes_in_a_row >= _MAX_REQUESTS:
            self._enter("closed")

    def failed(self, generation: int, thread_id: str | None = None) -> None:
        """A call was not answered, or answered with a server error.

        thread_id: the thread whose fault it may be. When a call about it failed before, and none has
        succeeded since, this one says nothing new about the runtime.
        """
        if thread_id is not None:
            if thread_id in self._failing:
                self.withdrawn(generation)
                return
            self._failing[thread_id] = None
            if len(self._failing) > _MAX_FAILING_THREADS:
                del self._failing[next(iter(self._failing))]
        if not self._is_current(generation):
            return
        counts = self._counts
        counts.failures += 1
        counts.failures_in_a_row += 1
        counts.successes_in_a_row = 0
        if self._state == "half_open" or counts.failures_in_a_row > _MAX_FAILURES:
            self._enter("open")

    def withdrawn(self, generation: int) -> None:
        """The caller gave a call up: it says nothing about the runtime, and another may take its place."""
        if self._is_current(generation):
            self._counts.requests -= 1

    @contextmanager
    def attempt(self, thread_id: str | None = None) -> Iterator[None]:
        """A call, whose exception is its outcome. thread_id: the thread that it is about, if any.

        Raises RuntimeUnavailable when it is refused.
        """
        generation = self.admit()
        try:
            yield
        except RuntimeRefused as refused:
            # An answer below 500 is about the request, not about the runtime's health.
            outcome = self.failed if refused.status >= _FIRST_SERVER_ERROR else self.succeeded
            outcome(generation, thread_id)
            raise
        except RuntimeUnavailable as unavailable:
            # A runtime that was not even reached is not the fault of a thread.
            self.failed(generation, thread_id if unavailable.sent else None)
            raise
        except Exception:
            self.failed(generation)
            raise
        except BaseException:
            self.withdrawn(generation)
            raise
        self.succeeded(generation, thread_id)

    def _is_current(self, generation: int) -> bool:
        self._advance()
        return generation == self._generation

    def _advance(self) -> None:
        """Change to the state that is due by now."""
        if self._state != "half_open" and self._monotonic() > self._ends_at:
            self._enter("half_open" if self._state == "open" else "closed")

    def _enter(self, state: BreakerState) -> None:
        """Begin a new generation in `state`."""
        self._state: BreakerState = state
        self._generation += 1
        self._counts = BreakerCounts()
        self._ends_at = self._monotonic() + _LASTS_S[state]
