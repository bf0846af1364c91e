"""What came on the connections of a run, as far as its verdict needs it. Pure."""

from __future__ import annotations

from server.domain.runs.backoff import ReconnectBackoff
from server.domain.runs.limits import RunLimits
from server.domain.runs.runtime import Interpretation


class StreamRecord:
    """The streams of one run under one lease, as the driver reports them.

    from_first_frame: the first connection gives the run from its first frame on. Times are monotonic
    seconds.
    """

    def __init__(self, limits: RunLimits, *, from_first_frame: bool) -> None:
        self._limits = limits
        self._from_first_frame = from_first_frame
        self._connections = 0
        self._backoff = ReconnectBackoff(limits)
        #: When the runtime was last heard or asked, and since when the open stream has brought no frame
        #: (None while it is not open).
        self._heard_at = 0.0
        self._quiet_since: float | None = None
        #: Whether no frame came since the open connection was found idle.
        self._is_idle = False
        #: Whether it had repeated every journalled frame by then.
        self._was_caught_up = False
        #: Whether the endpoint reported on this connection that it gives up.
        self._endpoint_gave_up = False
        #: Whether the last frame on this connection was a poll summary (`Interpretation.polled`).
        self._polled = False
        #: When the state was first asked since the last new frame.
        self._first_asked_at: float | None = None
        #: Answers of "unknown thread" since the last other answer or new frame. A failed question does
        #: not reset the count, or repeated faults would put the verdict off for ever.
        self._unknown_answers = 0
        #: Whether a new frame came since a state was last about to decide.
        self._saw_new_frame = True
        #: Connections in a row that broke without a new frame.
        self._fruitless_reconnects = 0

    def connecting(self, now: float) -> None:
        """A connection is being opened."""
        self._connections += 1
        self._backoff.connecting()
        self._endpoint_gave_up = self._polled = self._was_caught_up = self._is_idle = False
        self._heard_at, self._quiet_since = now, None

    def connected(self, now: float) -> None:
        """The connection is open."""
        self._quiet_since = now
        self._backoff.opened(now)

    def heard(self, now: float) -> None:
        """A frame came, of whatever kind, or was handled at last: the silence begins anew."""
        self._heard_at = self._quiet_since = now
        self._is_idle = False

    def frame(self, meaning: Interpretation, is_new: bool) -> None:
        """A frame is about to be journalled. `is_new`: the epoch before does not have it."""
        if meaning.error is not None and meaning.error.of_endpoint:
            self._endpoint_gave_up = True
        if is_new:
            self._backoff.worked = True
            # An endpoint that gives up knows nothing of the run: it says so of a forgotten one each time.
            if not self._endpoint_gave_up:
                self._first_asked_at, self._saw_new_frame, self._unknown_answers = None, True, 0
        if not meaning.end:
            self._polled = meaning.polled

    @property
    def from_first_frame(self) -> bool:
        """Whether this connection gives the run from its first frame on."""
        return self._from_first_frame and self._connections == 1

    @property
    def idle_at(self) -> float:
        """The time at which the open connection is idle if it brings no frame."""
        return self._heard_at + self._limits.idle_s

    def _stream_may_tell_more(self) -> bool:
        """Whether to read the stream once more before a state decides: it brought a new frame since this
        was last asked, or it broke before it was silent, and that not too often in a row."""
        saw_new_frame, self._saw_new_frame = self._saw_new_frame, False
        self._fruitless_reconnects = 0 if saw_new_frame else self._fruitless_reconnects + 1
        if self._was_caught_up:
            return saw_new_frame
        return self._fruitless_reconnects < self._limits.max_fruitless_reconnects
