"""Token frames into the journal's entries, in Python: those that are like the one before are spliced from the
bytes that they share, all others are left to the interpreter (ADR 0032)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from server.domain.runs.runtime import FilesEntry, OversizedFrame, TokenEntries
from server.encoding.event_batch import batch_of, delta_batch_of
from server.frames.agent_state import IN_PYTHON, StateSteps
from server.frames.interpreter import Interpreter
from server.wire.token_encoder import TokenEncoder


class SplicingInterpreter(Interpreter):
    """Implements `FrameInterpreter`."""

    def __init__(self, steps: StateSteps = IN_PYTHON) -> None:
        super().__init__(steps)
        self._encoder = TokenEncoder()

    def token_entries(
        self,
        frames: Sequence[bytes | OversizedFrame],
        start: int,
        first_seq: int,
        epoch: int,
        time: datetime,
    ) -> TokenEntries | None:
        """As in `FrameInterpreter`."""
        tokens = self.similar_tokens(frames, start)
        if tokens is None:
            return None
        events = self._encoder.encode(first_seq, epoch, time, tokens.token, tokens.place, tokens.texts)
        return len(events), batch_of(events), delta_batch_of(tokens.deltas), tokens.digests

    def files_entry(self, frame: bytes, *, seq: int, epoch: int, time: datetime) -> FilesEntry | None:
        """As in `FrameInterpreter`: left to `interpret`."""
        return None
