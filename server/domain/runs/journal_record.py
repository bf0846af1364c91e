"""What the journal of a run holds, as far as its verdict, its questions and the alignment need it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from server.domain.journal.events import (
    Discontinuity,
    EventKind,
    FrameReason,
    InputAnswered,
    InputRequested,
    StateUpdate,
    UpstreamFrame,
)
from server.domain.runs.actions import JournalFacts
from server.domain.runs.runtime import FrameInterpreter, Interpretation, UpstreamError
from server.encoding.frame_delta import digest_of


class JournalRecord:
    """The events of one run, as its recorder notes them in order. interpreter: that of the run's frames."""

    def __init__(self, interpreter: FrameInterpreter, *, epoch: int) -> None:
        self._interpreter = interpreter
        #: Grows with each discontinuity.
        self.epoch = epoch
        #: Digests of the frames journalled in this epoch, to align a replay with.
        self.digests: list[bytes] = []
        #: The digests of the epoch before.
        self._digests_before: frozenset[bytes] = frozenset()
        #: Whether a state frame, and one with a file map, came in this epoch, under this lease.
        self._state_shown = self._files_shown = False
        #: What the last `error` frame about the run reports, whichever lease it came under.
        self._error: UpstreamError | None = None
        #: The seqs of the last question, and of the last one that was answered; 0 for none.
        self.question_seq = self.answered_seq = 0

    def facts(self) -> JournalFacts:
        """What the verdict needs, as of the last event."""
        return JournalFacts(
            epoch=self.epoch,
            has_files=self._interpreter.has_files,
            files_seen=self._interpreter.files_seen,
            files_unread=self._interpreter.files_unread,
            awaiting_input=self._interpreter.awaiting_input,
            error=self._error,
            state_shown=self._state_shown,
            files_shown=self._files_shown,
        )

    def is_new(self, digests: Iterable[bytes | None]) -> bool:
        """Whether the epoch before does not have all of these frames."""
        return not (self._digests_before and self._digests_before.issuperset(digests))

    def note_restored(self, seq: int, kind: EventKind, delta: bytes, error: UpstreamError | None) -> None:
        """Note an event of an earlier lease. The arguments are those of `note`."""
        if isinstance(kind, Discontinuity | InputAnswered):
            self.digests.clear()
        self.note(seq, kind, delta, error)

    def note(self, seq: int, kind: EventKind, delta: bytes, error: UpstreamError | None) -> None:
        """Note an event. error: what it reports, if it is an `error` frame."""
        if isinstance(kind, InputRequested):
            self.question_seq = seq
        elif isinstance(kind, InputAnswered):
            self.answered_seq = kind.seq
        elif isinstance(kind, UpstreamFrame) and kind.reason is FrameReason.ERROR_REPORT:
            if error is not None and error.of_endpoint:
                # A replay does not repeat it.
                return
            self._error = error or self._error
        digest = digest_of(delta)
        if digest is not None:
            self.digests.append(digest)

    def note_shown(self, meaning: Interpretation) -> None:
        """Note what a frame showed whose events have been noted."""
        self._files_shown = self._files_shown or meaning.shows_files
        self._state_shown = self._state_shown or any(isinstance(kind, StateUpdate) for kind in meaning.kinds)

    def note_tokens(self, digests: Iterable[bytes]) -> bool:
        """Note the events of token frames. Returns whether the epoch before does not have all of them."""
        self.digests += digests
        return self.is_new(digests)

    def note_files(self, digest: bytes) -> None:
        """Note the event of a state frame with a file map, which shows nothing else."""
        self.digests.append(digest)
        self._state_shown = self._files_shown = True

    def begin_epoch(self) -> None:
        """A discontinuity is about to be journalled: its event is the first of a new epoch."""
        self.epoch += 1
        self._digests_before = frozenset(self.digests)
        self.digests.clear()
        self._state_shown = self._files_shown = False

    def begin_answer(self) -> None:
        """An answer is about to be journalled: the runtime's next stream begins with the frames behind it."""
        self.digests.clear()
        self._digests_before = frozenset()
