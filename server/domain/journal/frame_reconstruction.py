"""FrameReconstructor: the runtime's frames, reconstructed from events and deltas as legacy frames.

The journal stores each event (what is new) with a delta (`server.encoding.frame_delta`). Read in order from
seq 1, events and deltas reproduce every frame (ADR 0004).
"""

from __future__ import annotations

from copy import copy
from typing import assert_never

from server.domain.journal.events import (
    Discontinuity,
    EventKind,
    FileChange,
    FrameReason,
    InputRequested,
    Outcome,
    RunStarted,
    StateUpdate,
    Terminal,
    Token,
    UpstreamFrame,
)
from server.domain.proposals.files import File
from server.encoding.frame_delta import FILES_PLACEHOLDER, MEMBERS_PLACEHOLDER, DeltaContext, Encoding
from server.encoding.json_text import dump
from server.encoding.legacy_frame import with_seq

#: Bytes of memory of an empty reconstructor, and of a file besides its path and content.
_OWN_BYTES, _FILE_BYTES = 1000, 400


class _LegacyFile:
    """A file as a member of a legacy frame's file map. The text is made when a frame needs it."""

    __slots__ = ("_file", "_json", "_path", "size_bytes")

    def __init__(self, path: str, file: File) -> None:
        self._path = path
        self._file: File | None = file
        self._json = b""
        #: About its bytes of memory.
        self.size_bytes = _FILE_BYTES + 2 * len(path) + 2 * len(file.content)

    def json(self) -> bytes:
        """The member's text."""
        if self._file is not None:
            self._json = dump(self._path) + b":" + self._file.legacy_json()
            self._file = None
        return self._json


class FrameReconstructor:
    """Reconstructs a thread's legacy frames from its events, applied in order from seq 1.

    A legacy frame is the runtime's frame with `seq` added; a state frame with files has the whole file map,
    each `content` as a list of lines, whatever form the runtime used. A run whose failure the runtime did
    not report ends with an `error` frame and an `end` frame.
    """

    def __init__(self) -> None:
        self._context = DeltaContext()
        self._files: dict[str, _LegacyFile] = {}
        self._files_bytes = 0
        self._error_reported = False
        #: The seq of the last event applied.
        self.seq = 0

    def copy(self) -> FrameReconstructor:
        """An independent reconstructor in the same state."""
        other = FrameReconstructor()
        other._context = copy(self._context)
        other._files = dict(self._files)
        other._files_bytes = self._files_bytes
        other._error_reported = self._error_reported
        other.seq = self.seq
        return other

    @property
    def size_bytes(self) -> int:
        """About the bytes of memory that it needs, if it shares nothing with a copy."""
        context = self._context
        texts = len(context.token) + len(context.skeleton) + len(context.messages)
        return _OWN_BYTES + texts + self._files_bytes

    @staticmethod
    def needs_event(delta: bytes) -> bool:
        """Whether the event's kind is needed: for all but token frames."""
        return not delta or delta[0] != Encoding.TOKEN

    def frames_for(self, seq: int, delta: bytes, kind: EventKind | None) -> list[bytes]:
        """The frames of event `seq`: usually one, none for an event of the hub itself.

        `kind` is the event's kind; it may be None where `needs_event` says so.
        """
        text = self.skip(seq, delta, kind)
        match kind:
            case Terminal():
                return self._terminal_frames(seq, text, kind)
            case UpstreamFrame(event_type="end", reason=FrameReason.AFTER_END):
                # A reader stops at the first `end`, so that of the terminal event stays the only one.
                return []
            case UpstreamFrame():
                return [with_seq(kind.body, seq, trusted=False)]
            case StateUpdate():
                return [with_seq(self._with_files(text) if delta else self._own_state_frame(), seq)]
            case Token() | RunStarted() | InputRequested() | Discontinuity() | None:
                return [with_seq(text, seq)] if delta else []
            case other:
                assert_never(other)

    def skip(self, seq: int, delta: bytes, kind: EventKind | None) -> bytes:
        """Apply event `seq` without making its frames. Returns the part of its frame that the delta has."""
        if seq != self.seq + 1:
            raise ValueError(f"frames are reconstructed in order: seq {seq} came after {self.seq}")
        self.seq = seq
        text = self._context.decode(delta)[1] if delta else b""
        if isinstance(kind, StateUpdate):
            self._apply_changes(kind.files)
        elif isinstance(kind, UpstreamFrame):
            self._error_reported |= kind.reason is FrameReason.ERROR_REPORT
        return text

    def _terminal_frames(self, seq: int, end: bytes, terminal: Terminal) -> list[bytes]:
        frames = [with_seq(end or dump({"event_type": "end", "data": {}}), seq)]
        if terminal.outcome is not Outcome.COMPLETED and not self._error_reported:
            data = {"error": terminal.message, "context": terminal.reason}
            frames.insert(0, dump({"event_type": "error", "data": data}))
        return frames

    def _apply_changes(self, changes: tuple[FileChange, ...]) -> None:
        for change in changes:
            before = (
                self._files.pop(change.path, None) if change.file is None else self._files.get(change.path)
            )
            if before is not None:
                self._files_bytes -= before.size_bytes
            if change.file is not None:
                # In the same place as before: the files are in the order in which they came.
                file = self._files[change.path] = _LegacyFile(change.path, change.file)
                self._files_bytes += file.size_bytes

    def _with_files(self, text: bytes) -> bytes:
        """The text of a state frame with the files in place of their placeholder."""
        if MEMBERS_PLACEHOLDER in text:
            return text.replace(
                MEMBERS_PLACEHOLDER, b"".join(file.json() + b"," for file in self._files.values())
            )
        return text.replace(FILES_PLACEHOLDER, self._file_map()) if FILES_PLACEHOLDER in text else text

    def _file_map(self) -> bytes:
        return b"{" + b",".join(file.json() for file in self._files.values()) + b"}"

    def _own_state_frame(self) -> bytes:
        """A state frame for files that the hub learnt of without a frame."""
        return b'{"event_type":"on_state_update","data":{"files":' + self._file_map() + b"}}"
