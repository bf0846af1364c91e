"""The breaker around the calls to the runtime: gobreaker's rules with the contract's numbers (ADR 0012).

A pure state machine on an injected clock; it holds no task and waits for nothing. Closed, it counts and
trips on failures in a row. Open, it refuses everything until its time is over. Half open, it lets a few
through: all good close it, one bad opens it again. Each change of state, and each interval of the closed
state, begins a new generation; what was let in by an older one counts no more.
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


@dataclass(slots=True)
class Counts:
    """Calls let in since the generation began, and how they went."""

    requests: int = 0
    successes: int = 0
    failures: int = 0
    successes_in_a_row: int = 0
    failures_in_a_row: int = 0


class Breaker:
    """Whether the runtime may be called now. One per process; not for several threads.

    monotonic: the clock, in seconds. max_requests: calls that the half-open state lets in, and successes
    in a row that close it. interval_s: after which the closed state forgets its counts. timeout_s: how
    long it stays open. failures_most: failures in a row that are borne; one more trips it.
    """

    def __init__(
        self,
        monotonic: Callable[[], float],
        *,
        name: str = "deepagents-runtime",
        max_requests: int = 3,
        interval_s: float = 60.0,
        timeout_s: float = 30.0,
        failures_most: int = 5,
    ) -> None:
        self.name = name
        self._monotonic = monotonic
        self._max_requests, self._failures_most = max_requests, failures_most
        self._interval_s, self._timeout_s = interval_s, timeout_s
        self._generation = 0
        self._enter("closed")

    @property
    def state(self) -> BreakerState:
        """Where it stands now."""
        self._catch_up()
        return self._state

    @property
    def counts(self) -> Counts:
        """A copy of the counts of the current generation."""
        self._catch_up()
        return replace(self._counts)

    def look(self) -> None:
        """Raise RuntimeUnavailable when a call would be refused now. Takes no place away."""
        state = self.state
        if state == "open":
            left = max(1, math.ceil(self._ends_at - self._monotonic()))
            raise RuntimeUnavailable(
                "the runtime failed several times in a row and is left alone for a while",
                sent=False,
                retry_after_s=left,
            )
        if state == "half_open" and self._counts.requests >= self._max_requests:
            raise RuntimeUnavailable(
                "the runtime failed several times in a row and is being tried again",
                sent=False,
                retry_after_s=1,
            )

    def admit(self) -> int:
        """Let a call in; the generation to tell its outcome with. Raises RuntimeUnavailable."""
        self.look()
        self._counts.requests += 1
        return self._generation

    def succeeded(self, generation: int) -> None:
        """A call was answered."""
        if not self._is_current(generation):
            return
        counts = self._counts
        counts.successes += 1
        counts.successes_in_a_row += 1
        counts.failures_in_a_row = 0
        if self._state == "half_open" and counts.successes_in_a_row >= self._max_requests:
            self._enter("closed")

    def failed(self, generation: int) -> None:
        """A call was not answered, or with an error of the runtime's own."""
        if not self._is_current(generation):
            return
        counts = self._counts
        counts.failures += 1
        counts.failures_in_a_row += 1
        counts.successes_in_a_row = 0
        if self._state == "half_open" or counts.failures_in_a_row > self._failures_most:
            self._enter("open")

    def withdrawn(self, generation: int) -> None:
        """A call was given up by its caller: it says nothing, and its place is free again."""
        if self._is_current(generation):
            self._counts.requests -= 1

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """A call: what it raises is its outcome. Raises RuntimeUnavailable when it is not let in."""
        generation = self.admit()
        try:
            yield
        except RuntimeRefused as refused:
            # An answer below 500 is about the request, not about the runtime's health.
            outcome = self.failed if refused.status >= _FIRST_SERVER_ERROR else self.succeeded
            outcome(generation)
            raise
        except Exception:
            self.failed(generation)
            raise
        except BaseException:
            self.withdrawn(generation)
            raise
        self.succeeded(generation)

    def _is_current(self, generation: int) -> bool:
        self._catch_up()
        return generation == self._generation

    def _catch_up(self) -> None:
        """Go over to what the time that has passed asks for."""
        if self._state != "half_open" and self._monotonic() > self._ends_at:
            self._enter("half_open" if self._state == "open" else "closed")

    def _enter(self, state: BreakerState) -> None:
        """Begin a new generation in `state`."""
        lasts_s = {"closed": self._interval_s, "open": self._timeout_s, "half_open": math.inf}
        self._state: BreakerState = state
        self._generation += 1
        self._counts = Counts()
        self._ends_at = self._monotonic() + lasts_s[state]
