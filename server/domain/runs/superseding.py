"""What is put back of a run's kept frames: what nothing later has replaced (ADR 0053)."""

from __future__ import annotations

from collections.abc import Iterable

from server.domain.journal.events import EventKind, StateUpdate, Token
from server.domain.quarantine.entries import Release
from server.domain.quarantine.meaning import event_of, is_understood
from server.domain.runs.runtime import Interpretation


class Superseding:
    """Where the last states and tokens of a run are in its journal."""

    def __init__(self) -> None:
        #: The seqs of the last state, of the last one with a file map, and of the last token.
        self._state_seq = self._files_seq = self.token_seq = 0
        #: The state updates that came without a frame, and those of them that were put back from quarantine,
        #: which are as old as their frames.
        self._without_frame: set[int] = set()
        self._put_back: set[int] = set()

    def note(self, seq: int, kind: EventKind, delta: bytes, *, shows_files: bool) -> None:
        """Note an event, in order. shows_files: whether the last state frame had a file map."""
        if isinstance(kind, StateUpdate):
            if not delta:
                self._without_frame.add(seq)
                return
            self._state_seq = seq
            if shows_files:
                self._files_seq = seq
        elif isinstance(kind, Token) and delta:
            self.token_seq = seq

    def note_files(self, seq: int) -> None:
        """Note a state with a file map."""
        self._state_seq = self._files_seq = seq

    def note_put_back(self, seqs: Iterable[int]) -> None:
        """Note which events have what was put back."""
        self._put_back.update(seqs)

    def left_of(self, seq: int, meaning: Interpretation) -> tuple[Release | None, StateUpdate | Token | None]:
        """What becomes of the frame in the event `seq` that means this now, and the event to journal; None
        and None if it is still not understood.

        A state is replaced by a later one, its files by a later file map. A token is replaced by a later
        state, which has the whole message, and it cannot follow a later token.
        """
        if not is_understood(meaning):
            return None, None
        kind = event_of(meaning)
        # Such as the files of the runtime's state.
        adopted = max(self._without_frame - self._put_back, default=0)
        if isinstance(kind, Token) and max(self.token_seq, self._state_seq) < seq:
            return Release.JOURNALLED, kind
        if isinstance(kind, StateUpdate) and adopted < seq:
            if self._state_seq < seq:
                return Release.JOURNALLED, kind
            if self._files_seq < seq and (kind.files or kind.unread_files):
                files = StateUpdate(
                    message_count=kind.message_count, files=kind.files, unread_files=kind.unread_files
                )
                return Release.JOURNALLED, files
        return Release.SUPERSEDED, None
