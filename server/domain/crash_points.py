"""Named places where a process can be made to die, for tests of what survives (docs/reference/faults.md).

`crash_point("name")` does nothing unless that name was armed at start (IDEO_CRASH_POINT, development
only). Then the nth pass through it ends the process at once, as `kill -9` would: nothing is flushed,
closed or handed over.
"""

from __future__ import annotations

import os

#: The exit code that a shell reports for a process that SIGKILL ended.
EXIT_CODE = 137

#: Every point, in the order in which a run passes them, with what has happened there.
POINTS = {
    "started": "proposal, run and event 1 are committed; the run is not driven yet",
    "queued": "proposal and run are committed, and wait for others; the caller does not know",
    "in_supersede": "inside the transaction of a start: its rows are written, no other run is cancelled yet",
    "dequeued": "a queued run may begin, and this replica has its lease; it is not driven yet",
    "before_invoking": "the attempt is not recorded yet",
    "after_invoking": "the attempt is recorded; nothing was posted",
    "after_post": "the runtime took the job; `running` is not recorded yet",
    "after_running": "`running` is recorded; the starter does not know",
    "stream_open": "the stream is open; no frame was read on it",
    "frame_recorded": "a frame was read and queued; it is not committed",
    "before_append": "a batch was collected; the statement was not sent",
    "after_append": "the statement was answered; no reader knows",
    "connection_lost": "the stream broke; it was not opened again",
    "discontinuity": "a discontinuity is queued; it is not committed",
    "state_asked": "the runtime answered with its state; nothing was decided",
    "awaiting_input": "the proposal awaits input",
    "replied": "a reply to the agent is stored; neither the run's owner nor the caller knows",
    "answered": "the reply is journalled; the runtime does not have it",
    "resumed": "the runtime has the reply; that is not recorded",
    "before_finish": "the verdict is clear; the finishing statement was not sent",
    "after_finish": "the finishing statement is committed; no reader knows",
    "after_compact": "the journal of a run that has ended is compacted",
    "before_accept": "the draft and the proposal are locked; nothing of the acceptance is written",
    "in_accept": "inside the accepting transaction: the draft's version is written, the proposal is not",
    "end_of_accept": "inside the accepting transaction: all is written, nothing is committed",
    "accepted": "the acceptance is committed; the caller does not know",
    "webhook_claimed": "deliveries of webhooks are claimed; nothing was sent",
    "webhook_sent": "a receiver answered; that is not recorded",
    "taken_over": "a run was taken over; it is not driven yet",
    "restored": "a run that was taken over has read its journal",
    "draining": "the hub begins to drain",
    "handing_over": "the runs are stopped; no lease is given up yet",
}

_armed = ""
_passes_left = 0


def arm(spec: str) -> None:
    """Arm one point: `name` or `name:nth`. Raises ValueError for an unknown name."""
    global _armed, _passes_left
    name, _, nth = spec.partition(":")
    if name not in POINTS:
        raise ValueError(f"no such crash point: {name[:40]!r}")
    if nth and not (nth.isascii() and nth.isdigit() and int(nth) > 0):
        raise ValueError("the pass at which to crash must be a number above 0")
    _armed, _passes_left = name, int(nth or 1)


def crash_point(name: str, passes: int = 1) -> None:
    """End the process if this point is armed and the chosen pass is among these."""
    global _passes_left
    if name != _armed:
        return
    _passes_left -= passes
    if _passes_left <= 0:
        os._exit(EXIT_CODE)
