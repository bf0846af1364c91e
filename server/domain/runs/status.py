"""The states of a run.

    queued ──► pending ──► invoking ──► running ──► completed
                  │           │  ▲         │  ├───► failed
                  │           └──┘         │  └───► cancelled
                  └───────────┴────────────┘ (failed or cancelled from any of the three)

`queued`: it waits for other runs of its draft, and nobody has a lease on it. One that is cancelled becomes
`pending` first, and nothing is invoked.
`invoking` is committed, with its attempt's number, before the runtime is called; it may follow itself, as
the next attempt. A terminal state never changes: the database refuses it.
"""

from __future__ import annotations

from enum import Enum


class RunStatus(Enum):
    """The state of a run; the value is the word in the database."""

    QUEUED = "queued"
    PENDING = "pending"
    INVOKING = "invoking"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
