"""The states of a run.

    pending ──► invoking ──► running ──► completed
       │           │  ▲         │  ├───► failed
       │           └──┘         │  └───► cancelled
       └───────────┴────────────┘ (failed or cancelled from any of the three)

`invoking` is committed, with its attempt's number, before the runtime is called; it may follow itself, as
the next attempt. A terminal state never changes: the database refuses it.
"""

from __future__ import annotations

from enum import Enum


class RunStatus(Enum):
    """The state of a run; the value is the word in the database."""

    PENDING = "pending"
    INVOKING = "invoking"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
