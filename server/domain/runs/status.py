"""The states of a run, and which may follow which. Pure.

    pending ──► invoking ──► running ──► completed
       │           │  ▲         │  ├───► failed
       │           └──┘         │  └───► cancelled
       └───────────┴────────────┘ (failed or cancelled from any of the three)

`invoking` is committed, with its attempt's number, before the runtime is called; it may follow
itself, as the next attempt. A terminal state never changes: the database refuses it too.
"""

from __future__ import annotations

from enum import Enum


class RunStatus(Enum):
    """Where a run stands; the value is the word in the database."""

    PENDING = "pending"
    INVOKING = "invoking"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether it never changes again."""
        return not FOLLOWERS[self]


_ENDS = frozenset({RunStatus.FAILED, RunStatus.CANCELLED})

#: The states that may follow each state.
FOLLOWERS: dict[RunStatus, frozenset[RunStatus]] = {
    RunStatus.PENDING: frozenset({RunStatus.INVOKING}) | _ENDS,
    RunStatus.INVOKING: frozenset({RunStatus.INVOKING, RunStatus.RUNNING}) | _ENDS,
    RunStatus.RUNNING: frozenset({RunStatus.COMPLETED}) | _ENDS,
    RunStatus.COMPLETED: frozenset(),
    RunStatus.FAILED: frozenset(),
    RunStatus.CANCELLED: frozenset(),
}


def may_follow(now: RunStatus, then: RunStatus) -> bool:
    """Whether a run may go from `now` to `then`."""
    return then in FOLLOWERS[now]
