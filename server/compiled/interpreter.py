"""Token frames into the journal's entries, in Rust: `rust/`, a module that is not everywhere (ADR 0075).

It takes the runtime's printed tokens, whether they are like the one before or not. What is not of its regular
form is left to the form in Python, and that leaves the rest to the interpreter, which says what is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ide_orchestrator_compiled import StateSplit, TokenFrames, difference, printed_messages, text_file

from server.compiled.spliced import SplicingInterpreter
from server.domain.runs.runtime import OversizedFrame, TokenEntries
from server.frames.agent_state import StateSteps
from server.wire.text import EPOCH
from server.wire.token_encoder import token_keys

_KEYS = token_keys()
#: Bytes of a frame that may be a token: larger ones are left to `interpret`.
MAX_TOKEN_BYTES = 64 << 10
#: Of reading state frames.
STEPS = StateSteps(difference, printed_messages, StateSplit, text_file)


class CompiledInterpreter(SplicingInterpreter):
    """Implements `FrameInterpreter`. Importing this module raises ImportError where the Rust module is not
    installed."""

    def __init__(self) -> None:
        super().__init__(STEPS)
        self._regular = TokenFrames(_KEYS)

    def token_entries(
        self,
        frames: Sequence[bytes | OversizedFrame],
        start: int,
        *,
        first_seq: int,
        epoch: int,
        time: datetime,
    ) -> TokenEntries | None:
        """As in `FrameInterpreter`."""
        since, deltas, calls = time - EPOCH, self._deltas, self._tokens.calls
        moment = epoch, since.days * 86400 + since.seconds, since.microseconds * 1000
        found = self._regular.take(frames, start, first_seq, moment, deltas.token, calls.indexes)
        if found is not None:
            entries, deltas.token = found
            return entries
        frame = frames[start]
        if isinstance(frame, OversizedFrame) or len(frame) > MAX_TOKEN_BYTES:
            # Most of these are state frames.
            return None
        # Such as a token in JSON.
        return super().token_entries(frames, start, first_seq=first_seq, epoch=epoch, time=time)

    @property
    def size_bytes(self) -> int:
        """As in `FrameInterpreter`."""
        return super().size_bytes + self._regular.size_bytes

    @property
    def memory_bytes(self) -> int:
        """As in `FrameInterpreter`."""
        return super().memory_bytes + self._regular.size_bytes

    def forget_frames(self) -> None:
        """As in `FrameInterpreter`."""
        super().forget_frames()
        self._regular.forget()
