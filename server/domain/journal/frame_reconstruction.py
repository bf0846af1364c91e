"""FrameReconstructor: the runtime's frames, reconstructed from events and deltas as legacy frames.

The journal stores each event (what is new) with a delta (`server.encoding.frame_delta`). Read in order from
seq 1, events and deltas reproduce every frame (ADR 0004).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from typing import TypeAlias, assert_never

from server.domain.journal.events import (
    Discontinuity,
    EventKind,
    FileChange,
    FrameReason,
    InputAnswered,
    InputRequested,
    Outcome,
    RunStarted,
    StateUpdate,
    Terminal,
    Token,
    UpstreamFrame,
)
from server.domain.proposals.files import File
from server.encoding.frame_delta import (
    FILES_PLACEHOLDER,
    MEMBERS_PLACEHOLDER,
    MESSAGES_PLACEHOLDER,
    DeltaContext,
    Encoding,
    frame_digest,
)
from server.encoding.json_text import dump
from server.encoding.legacy_frame import with_seq
from server.encoding.structure import JSON, exceeds

#: Bytes of memory of an empty reconstructor, and of a file besides its path and content.
_OWN_BYTES, _FILE_BYTES = 1000, 400
#: Parts of a frame are joined up to this size: a little less than what is written at a time.
_PART_BYTES = 60 << 10
#: Values of a frame that is written again with its seq. It is read in a single call.
_MAX_VALUES = 150_000
#: Characters of a text that are escaped in one call, in which no other thread runs.
_ESCAPED_CHARS = 1 << 16
_PLACEHOLDERS = re.compile(
    b"(" + b"|".join(map(re.escape, (MESSAGES_PLACEHOLDER, FILES_PLACEHOLDER, MEMBERS_PLACEHOLDER))) + b")"
)


class LegacyFile:
    """A file as a member of a legacy frame's file map. Its text is made when a frame needs it.

    Of a large one only its place in the journal is kept here, the event `seq`. Its text, in `texts`, is
    shared by all who read it (`server.domain.streams.legacy_frames`), and made again when it was dropped.
    """

    __slots__ = ("_file", "_json", "path", "recently_read", "seq", "size_bytes", "state_bytes", "texts")

    def __init__(self, path: str, file: File, seq: int, max_kept_bytes: int | None) -> None:
        self.path, self.seq = path, seq
        content = len(file.content) + sum(map(len, file.extra.values()))
        #: About the bytes of its text.
        self.size_bytes = len(path) + content + 2 * file.content.count(b"\n")
        #: About the bytes of memory that a state needs for it.
        self.state_bytes = _FILE_BYTES + 2 * len(path)
        self._file: File | None = None
        if max_kept_bytes is None or content <= max_kept_bytes:
            self._file = file
            self.state_bytes += 2 * content
        self._json = b""
        #: The text of a large file, in parts; None when it must be made.
        self.texts: Sequence[bytes] | None = None
        self.recently_read = False

    @property
    def kept(self) -> bool:
        """Whether it is kept here."""
        return self._file is not None or bool(self._json)

    def json(self) -> bytes:
        """The member's text; only of a file that is kept here."""
        # States share it, and another thread may make one's frames.
        file = self._file
        if file is not None:
            self._json = b"".join(member_texts(self.path, file))
            self._file = None
        return self._json


#: A part of a frame's text. A file among them is a large one.
Part: TypeAlias = bytes | LegacyFile


def member_texts(path: str, file: File) -> list[bytes]:
    """The text of a file as a member of a file map, in parts."""
    parts = _joined([dump(path) + b":", *file.legacy_json_parts()])
    return [part for part in parts if isinstance(part, bytes)]


def _joined(parts: Iterable[Part]) -> Iterator[Part]:
    """The parts, of which small ones that follow each other are joined."""
    together: list[bytes] = []
    size = 0
    for part in parts:
        if together and (isinstance(part, LegacyFile) or size + len(part) > _PART_BYTES):
            yield b"".join(together)
            together, size = [], 0
        if isinstance(part, LegacyFile):
            yield part
        elif part:
            together.append(part)
            size += len(part)
    if together:
        yield together[0] if len(together) == 1 else b"".join(together)


class FrameReconstructor:
    """Reconstructs a thread's legacy frames from its events, applied in order from seq 1.

    A legacy frame is the runtime's frame with `seq` added; a state frame with files has the whole file map,
    each `content` as a list of lines, whatever form the runtime used. A run whose failure the runtime did
    not report ends with an `error` frame and an `end` frame.
    """

    def __init__(self, max_kept_bytes: int | None = None) -> None:
        """max_kept_bytes: of larger files only their place is kept; None keeps all."""
        self._max_kept_bytes = max_kept_bytes
        self._context = DeltaContext()
        self._files: dict[str, LegacyFile] = {}
        self._files_bytes = 0
        self._error_reported = False
        #: The seq of the last event applied.
        self.seq = 0

    def copy(self) -> FrameReconstructor:
        """An independent reconstructor in the same state."""
        other = FrameReconstructor(self._max_kept_bytes)
        other._context = copy(self._context)
        other._files = dict(self._files)
        other._files_bytes = self._files_bytes
        other._error_reported = self._error_reported
        other.seq = self.seq
        return other

    @property
    def size_bytes(self) -> int:
        """About the bytes of memory that it needs, if it shares nothing with a copy."""
        return _OWN_BYTES + len(self._context.token) + self._state_bytes

    @property
    def _state_bytes(self) -> int:
        return len(self._context.skeleton) + len(self._context.messages) + self._files_bytes

    def cost_of(self, event: bytes, delta: bytes) -> int:
        """About the bytes that are copied to apply the event with this delta and to make its frames."""
        of_token = delta[:1] == _TOKEN
        return len(event) + len(delta) + (len(self._context.token) if of_token else self._state_bytes)

    @staticmethod
    def needs_event(delta: bytes) -> bool:
        """Whether the event's kind is needed: for all but token frames."""
        return not delta or delta[0] != Encoding.TOKEN

    def parts_for(self, seq: int, delta: bytes, kind: EventKind | None) -> list[list[Part]]:
        """The frames of event `seq`: usually one, none for an event of the hub itself. Each is in parts: what
        is large is not copied, and large files are left to be read.

        `kind` is the event's kind; it may be None where `needs_event` says so.
        """
        text = self.skip(seq, delta, kind)
        match kind:
            case Terminal():
                return [[frame] for frame in self._terminal_frames(seq, text, kind)]
            case UpstreamFrame(event_type="end", reason=FrameReason.AFTER_END):
                # A reader stops at the first `end`, so that of the terminal event stays the only one.
                return []
            case UpstreamFrame() if exceeds(kind.body, JSON, max_values=_MAX_VALUES, max_members=_MAX_VALUES):
                return [list(_joined(_raw(kind.body, seq)))]
            case UpstreamFrame():
                return [[with_seq(kind.body, seq, trusted=False)]]
            case StateUpdate():
                skeleton = self._skeleton(delta, text) if delta else _OWN_STATE
                return [list(_joined(self._filled(_skeleton_with_seq(skeleton, seq))))]
            case Token() | RunStarted() | InputRequested() | InputAnswered() | Discontinuity() | None:
                return [[with_seq(text, seq)]] if delta else []
            case other:
                assert_never(other)

    def skip(self, seq: int, delta: bytes, kind: EventKind | None) -> bytes:
        """Apply event `seq` without making its frames. Returns the part of its frame that the delta has."""
        if seq != self.seq + 1:
            raise ValueError(f"frames are reconstructed in order: seq {seq} came after {self.seq}")
        self.seq = seq
        text = self._context.decode(delta)[1] if delta else b""
        if isinstance(kind, StateUpdate):
            self._apply_changes(seq, kind.files)
        elif isinstance(kind, UpstreamFrame):
            self._error_reported |= kind.reason is FrameReason.ERROR_REPORT
        return text

    @property
    def token(self) -> bytes:
        """The text of the last token frame."""
        return self._context.token

    def continue_after(self, seq: int, token: bytes) -> None:
        """Go on after tokens whose frames were made elsewhere. seq: of the last of them. token: its text."""
        self.seq, self._context.token = seq, token

    def _terminal_frames(self, seq: int, end: bytes, terminal: Terminal) -> list[bytes]:
        frames = [with_seq(end or dump({"event_type": "end", "data": {}}), seq)]
        if terminal.outcome is not Outcome.COMPLETED and not self._error_reported:
            data = {"error": terminal.message, "context": terminal.reason}
            frames.insert(0, dump({"event_type": "error", "data": data}))
        return frames

    def _apply_changes(self, seq: int, changes: tuple[FileChange, ...]) -> None:
        for change in changes:
            before = (
                self._files.pop(change.path, None) if change.file is None else self._files.get(change.path)
            )
            if before is not None:
                self._files_bytes -= before.state_bytes
            if change.file is not None:
                # In the same place as before: the files are in the order in which they came.
                file = LegacyFile(change.path, change.file, seq, self._max_kept_bytes)
                self._files[change.path] = file
                self._files_bytes += file.state_bytes

    def _skeleton(self, delta: bytes, text: bytes) -> bytes:
        """The text of a frame with placeholders, where there are some."""
        return self._context.skeleton if delta[0] == Encoding.STATE else text

    def _filled(self, skeleton: bytes) -> Iterator[Part]:
        """The text of a state frame: the skeleton with what its placeholders stand for."""
        for part in _PLACEHOLDERS.split(skeleton):
            if part == MESSAGES_PLACEHOLDER:
                yield self._context.messages
            elif part == FILES_PLACEHOLDER:
                yield b"{"
                yield from self._members(b",")
                yield b"}"
            elif part == MEMBERS_PLACEHOLDER:
                yield from self._members(b",")
                yield b"," if self._files else b""
            else:
                yield part

    def _members(self, separator: bytes) -> Iterator[Part]:
        between = b""
        for file in self._files.values():
            yield between
            yield file.json() if file.kept else file
            between = separator


_TOKEN = bytes((Encoding.TOKEN,))
#: A state frame for files that the hub learnt of without a frame.
_OWN_STATE = b'{"event_type":"on_state_update","data":{"files":' + FILES_PLACEHOLDER + b"}}"


def _skeleton_with_seq(skeleton: bytes, seq: int) -> bytes:
    """`with_seq` for a text with placeholders. What they stand for is inside of its `data`: it is not looked
    at."""
    if b'"seq"' not in skeleton:
        return with_seq(skeleton, seq)
    # JSON in the placeholders' places, so that the text can be read. The digest makes it unlike all that is
    # in the text.
    names = {"\\u0000" + frame_digest(skeleton).hex() + sign: sign for sign in "MFE"}
    text = skeleton
    for name, sign in names.items():
        stand_in = f'"{name}":0,' if sign == "E" else f'"{name}"'
        text = text.replace(b"\0" + sign.encode(), stand_in.encode())
    text = with_seq(text, seq)
    for name, sign in names.items():
        stand_in = f'"{name}":0,' if sign == "E" else f'"{name}"'
        text = text.replace(stand_in.encode(), b"\0" + sign.encode())
    return text


def _raw(frame: bytes, seq: int) -> Iterator[bytes]:
    """A frame of too many values to be read, as `with_seq` has one that is not a JSON object."""
    yield b'{"event_type":"unknown","data":{"raw":"'
    text = frame.decode("utf-8", "replace")
    for at in range(0, len(text), _ESCAPED_CHARS):
        yield dump(text[at : at + _ESCAPED_CHARS])[1:-1]
    yield b'"},"seq":%d}' % seq
