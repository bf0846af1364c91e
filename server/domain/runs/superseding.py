"""Which kept frames of a run still say something new: those that nothing later has replaced (ADR 0053)."""

from __future__ import annotations

from collections.abc import Iterable

from server.domain.journal.events import EventKind, StateUpdate, Token


class Superseding:
    """Where the last states and tokens of a run are in its journal."""

    def __init__(self) -> None:
        self._state_seq = self._token_seq = 0
        #: The state updates that came without a frame, and those of them that were put back from quarantine,
        #: which are as old as their frames.
        self._without_frame: set[int] = set()
        self._put_back: set[int] = set()

    def note(self, seq: int, kind: EventKind, delta: bytes) -> None:
        """Note an event, in order."""
        if isinstance(kind, StateUpdate):
            if delta:
                self._state_seq = seq
            else:
                self._without_frame.add(seq)
        elif isinstance(kind, Token) and delta:
            self._token_seq = seq

    def note_tokens(self, seq: int) -> None:
        """Note tokens, of which this is the last."""
        self._token_seq = seq

    def note_put_back(self, seqs: Iterable[int]) -> None:
        """Note which events have what was put back."""
        self._put_back.update(seqs)

    def supersedes(self, seq: int, kind: StateUpdate | Token) -> bool:
        """Whether what the frame in the event `seq` means was replaced: a state by a later one, a token by a
        later state, and by a later token, which it would follow."""
        state_seq = max([self._state_seq, *(self._without_frame - self._put_back)])
        return max(state_seq, self._token_seq if isinstance(kind, Token) else 0) > seq
