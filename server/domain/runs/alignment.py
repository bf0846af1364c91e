"""How the frames of a new connection continue what is journalled (ADR 0009). Pure.

The operator declares what a connection to the runtime gives (`RunLimits.profile`):

    full   every frame of the run from the first one, word for word: the journalled ones are dropped
           while they are equal in order; at the first difference, continuity ends
    ids    some frames again, no two of them equal: the journalled ones are dropped wherever they come,
           and continuity holds if the last journalled one is among them
    none   frames from now on: nothing is dropped, and continuity ends with the first frame
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from server.domain.journal.events import DiscontinuityReason
from server.domain.runs.limits import Profile
from server.encoding.frame_delta import WHOLE_BYTES, frame_digest, whole_digest


class Alignment:
    """The alignment of one connection.

    journalled: the digests of the frames journalled in this epoch, in order. epoch: the journal's; a
    later one than the first does not begin with the run's first frame, so `full` cannot be aligned.
    from_first_frame: the connection gives the run from its first frame on, and nothing is journalled.
    """

    def __init__(
        self, profile: Profile, journalled: Sequence[bytes], *, epoch: int, from_first_frame: bool
    ) -> None:
        replayed = profile == "full" and epoch == 1
        #: The frames that must come next, in this order, and how many of them have come.
        self._expected = tuple(journalled) if replayed else ()
        self._repeated = 0
        #: The frames that may come in any order.
        self._known = frozenset(journalled) if profile == "ids" else frozenset()
        self._last = journalled[-1] if journalled else None
        self._continuous = replayed or from_first_frame
        #: Whether every journalled frame was repeated; also true when the profile repeats none.
        self.caught_up = not self._expected and not self._known
        #: Whether no further frame can repeat one, or begin after a gap: the alignment is over.
        self.over = self._continuous and self.caught_up

    def repeats(self, frame: bytes) -> bytes | None:
        """The digest of the journalled frame that the next frame repeats; None when it repeats none."""
        if self._repeated < len(self._expected):
            expected = self._expected[self._repeated]
            if expected in _digests(frame):
                self._repeated += 1
                self.caught_up = self.over = self._repeated == len(self._expected)
                return expected
        elif self._known:
            for digest in _digests(frame):
                if digest in self._known:
                    self._continuous = self.caught_up = self._continuous or digest == self._last
                    return digest
        return None

    @property
    def gap_ahead(self) -> bool:
        """Whether the next frame, if it repeats none, does not continue what is journalled."""
        return self._repeated < len(self._expected) or not self._continuous

    def gap_before_new_frame(self) -> DiscontinuityReason | None:
        """Why the next frame, which repeats none, does not continue what is journalled; None if it does."""
        reason = None
        if self._repeated < len(self._expected):
            reason = DiscontinuityReason.REPLAY_DIFFERED
            self._expected, self._repeated, self.caught_up = (), 0, True
        elif not self._continuous:
            reason = DiscontinuityReason.RECONNECTED
        self._continuous = True
        self.over = not self._known
        return reason


def _digests(frame: bytes) -> Iterator[bytes]:
    """The digests that a frame may have in the journal: an earlier release made another of a long frame."""
    yield frame_digest(frame)
    if len(frame) > WHOLE_BYTES:
        yield whole_digest(frame)
