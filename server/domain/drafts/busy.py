"""Busy drafts: what a start does while another refinement of its draft has not ended (ADR 0038)."""

from __future__ import annotations

from enum import Enum


class WhenBusy(Enum):
    """What a start does while another refinement of the draft is queued, runs or awaits input. The value is
    the word in settings and over HTTP."""

    #: Starts its run beside the others.
    PARALLEL = "parallel"
    #: Starts nothing.
    REFUSE = "refuse"
    #: Starts its run once all earlier ones have ended.
    ENQUEUE = "enqueue"
    #: Cancels the others, and starts its run.
    SUPERSEDE = "supersede"
