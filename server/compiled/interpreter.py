"""Token frames and changes of files into the journal's entries, in Rust: `rust/`, a module that is not
everywhere (ADR 0075, ADR 0078).

It takes the runtime's printed tokens, whether they are like the one before or not. What is not of its regular
form is left to the form in Python, and that leaves the rest to the interpreter, which says what is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256

from ide_orchestrator_compiled import (
    FileUpdates,
    StateSplit,
    TokenFrames,
    difference,
    printed_messages,
    text_file,
)

from server.compiled.spliced import SplicingInterpreter
from server.domain.proposals.files import File
from server.domain.runs.quick_frames import MAX_BYTES
from server.domain.runs.runtime import FilesEntry, OversizedFrame, TokenEntries
from server.frames.agent_state import StateSteps
from server.wire.file_updates import file_keys
from server.wire.text import EPOCH, to_uint32
from server.wire.token_encoder import token_keys

_KEYS = token_keys()
#: Bytes of a frame that may be a token: larger ones are left to `interpret`.
MAX_TOKEN_BYTES = 64 << 10
_FILE_UPDATES = FileUpdates(file_keys(), sha256)
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
        first_seq: int,
        epoch: int,
        time: datetime,
    ) -> TokenEntries | None:
        """As in `FrameInterpreter`."""
        deltas, calls = self._deltas, self._tokens.calls
        found = self._regular.take(
            frames, start, first_seq, _moment(epoch, time), deltas.token, calls.indexes
        )
        if found is not None:
            entries, deltas.token = found
            return entries
        frame = frames[start]
        if isinstance(frame, OversizedFrame) or len(frame) > MAX_TOKEN_BYTES:
            # Most of these are state frames.
            return None
        # Such as a token in JSON.
        return super().token_entries(frames, start, first_seq, epoch, time)

    def files_entry(self, frame: bytes, *, seq: int, epoch: int, time: datetime) -> FilesEntry | None:
        """As in `FrameInterpreter`."""
        form = self.files_form
        if form is None or len(frame) > MAX_BYTES:
            return None
        split = form.split
        assert isinstance(split, StateSplit)
        found = _FILE_UPDATES.next(
            split,
            frame,
            form.names,
            seq,
            _moment(epoch, time),
            to_uint32(self.message_count),
        )
        if found is None:
            return None
        split, event, index, files = found
        changed = [
            (path, entry, File.hashed(content, created_at, modified_at, hashed))
            for path, entry, content, created_at, modified_at, hashed in files
        ]
        delta = self.continue_after_files(form, split, changed)
        return None if delta is None else FilesEntry(event, delta, split.digest, index)

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


def _moment(epoch: int, time: datetime) -> tuple[int, int, int]:
    """An event's epoch, and its time in seconds since 1970 and nanoseconds."""
    since = time - EPOCH
    return epoch, since.days * 86400 + since.seconds, since.microseconds * 1000
