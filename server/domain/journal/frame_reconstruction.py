"""FrameReconstructor: the runtime's frames kept as differences, and given back in the seed's form.

State frames repeat all messages and all files, token frames repeat all metadata. The journal keeps
an event (what is new) and a delta beside it: what the frame's text has that the event does not,
as a difference to the frame before it on the same track. Read in order from seq 1, events and
deltas give every frame back (ADR 0004).

A delta is: one byte for the form, eight bytes of BLAKE2b of the frame, then one or two
differences. A difference to the track's previous bytes is: varint length of the kept head, varint
length of the kept tail, varint of twice the length of the insertion plus one if it is deflated, and
the insertion. A long insertion is deflated with the previous bytes as its dictionary: the frames of
one run say the same things in another order.
"""

from __future__ import annotations

import json
import zlib
from copy import copy
from enum import IntEnum
from hashlib import blake2b
from math import isfinite
from typing import Any

from server.domain.journal.events import (
    EventKind,
    FileChange,
    FrameReason,
    Outcome,
    StateUpdate,
    Terminal,
    UpstreamFrame,
)
from server.domain.journal.segments import read_varint, varint

#: Stands in a skeleton for the messages value and for the files value. JSON text cannot hold NUL.
MESSAGES_PLACEHOLDER = b"\x00M"
FILES_PLACEHOLDER = b"\x00F"
#: Stands in front of those members of the files value that are no files (UnreadFile), for the files
#: beside them. Where a path is both, the frame said the unread one: it comes last, so it counts.
MEMBERS_PLACEHOLDER = b"\x00E"

DIGEST_BYTES = 8

#: Insertions from this size on are deflated; below it the effort is not worth it.
DEFLATE_FROM_BYTES = 128
#: Deflate without a head, and the most that it takes as a dictionary.
_RAW = -15
_DICTIONARY_BYTES = 1 << 15


def frame_digest(frame: bytes) -> bytes:
    """Eight bytes that tell frames of one run apart, for aligning a replay with the journal."""
    return blake2b(frame, digest_size=DIGEST_BYTES).digest()


class Form(IntEnum):
    """How a frame's text is found again."""

    #: The frame's text is one difference on the token track.
    TOKEN = 1
    #: The frame is a skeleton (track) with the messages text (track) and the files in its holes.
    STATE = 2
    #: The frame's text is the event's own body (UpstreamFrame).
    BODY = 3
    #: The frame's text is in the delta, whole.
    WHOLE = 4


_TOKEN = bytes((Form.TOKEN,))


def _common_head(old: bytes, new: bytes, limit: int) -> int:
    """Length of the common start, at most `limit`; by bisection, so that C compares."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if old[low:middle] == new[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def difference(old: bytes, new: bytes) -> bytes:
    """What makes `new` out of `old`: kept head, kept tail, insertion."""
    shorter = min(len(old), len(new))
    head = shorter if old[:shorter] == new[:shorter] else _common_head(old, new, shorter)
    tail_limit = shorter - head
    low, high = 0, tail_limit
    old_end, new_end = len(old), len(new)
    while low < high:
        middle = (low + high + 1) // 2
        if old[old_end - middle : old_end - low] == new[new_end - middle : new_end - low]:
            low = middle
        else:
            high = middle - 1
    inserted = new[head : new_end - low]
    if len(inserted) < DEFLATE_FROM_BYTES:
        return varint(head) + varint(low) + varint(len(inserted) << 1) + inserted
    deflate = zlib.compressobj(wbits=_RAW, zdict=old[-_DICTIONARY_BYTES:])
    inserted = deflate.compress(inserted) + deflate.flush()
    return varint(head) + varint(low) + varint(len(inserted) << 1 | 1) + inserted


def _apply(old: bytes, delta: bytes, at: int) -> tuple[bytes, int]:
    """The new bytes and the place behind the difference at `at`."""
    head, at = read_varint(delta, at)
    tail, at = read_varint(delta, at)
    size, at = read_varint(delta, at)
    end = at + (size >> 1)
    inserted = delta[at:end]
    if size & 1:
        inflate = zlib.decompressobj(wbits=_RAW, zdict=old[-_DICTIONARY_BYTES:])
        inserted = inflate.decompress(inserted) + inflate.flush()
    return old[:head] + inserted + (old[len(old) - tail :] if tail else b""), end


class DeltaContext:
    """The previous bytes of each track; one object per run and reader, fed in order."""

    def __init__(self) -> None:
        self.token = b""
        self.skeleton = b""
        self.messages = b""

    # Writing: what the adapter keeps beside an event.

    # `frame` is what came, which the digest is of; `text` is the same as proper JSON, if it is not.

    def write_token(self, frame: bytes, text: bytes | None = None) -> bytes:
        """The delta of a token frame."""
        text = frame if text is None else text
        delta = _TOKEN + frame_digest(frame) + difference(self.token, text)
        self.token = text
        return delta

    def write_state(self, frame: bytes, skeleton: bytes, messages: bytes | None) -> bytes:
        """The delta of a state frame: its skeleton, and its messages value if it has one."""
        delta = bytes((Form.STATE,)) + frame_digest(frame) + difference(self.skeleton, skeleton)
        self.skeleton = skeleton
        if messages is not None:
            delta += difference(self.messages, messages)
            self.messages = messages
        return delta

    def write_body(self, frame: bytes) -> bytes:
        """The delta of a frame whose event is the frame itself."""
        return bytes((Form.BODY,)) + frame_digest(frame)

    def write_whole(self, frame: bytes, text: bytes | None = None) -> bytes:
        """The delta of a frame that no track covers, such as `end`."""
        return bytes((Form.WHOLE,)) + frame_digest(frame) + (frame if text is None else text)

    # Reading.

    def read(self, delta: bytes) -> tuple[Form, bytes]:
        """The form, and the frame's text as far as the delta knows it: TOKEN and WHOLE the text,
        STATE the skeleton with its messages filled in and the files hole open, BODY nothing."""
        form = Form(delta[0])
        at = 1 + DIGEST_BYTES
        if form is Form.TOKEN:
            self.token, _ = _apply(self.token, delta, at)
            return form, self.token
        if form is Form.STATE:
            self.skeleton, at = _apply(self.skeleton, delta, at)
            if at < len(delta):
                self.messages, _ = _apply(self.messages, delta, at)
            return form, self.skeleton.replace(MESSAGES_PLACEHOLDER, self.messages)
        return form, delta[at:]


def digest_of(delta: bytes) -> bytes | None:
    """The digest of the frame that a delta belongs to; None for an event that the hub made."""
    return delta[1 : 1 + DIGEST_BYTES] if delta else None


_DUMP = json.JSONEncoder(separators=(",", ":")).encode


def dump(value: object) -> bytes:
    """JSON text in ASCII, so that lone surrogates and U+0000 travel as escapes."""
    return _DUMP(value).encode("ascii")


def load(text: str) -> Any:
    """The value of a JSON text, with `NaN`, `Infinity` and numbers beyond a double's range as
    strings, because JSON cannot carry them on. Raises ValueError, RecursionError."""
    return json.loads(text, parse_constant=str, parse_float=_number)


def _number(text: str) -> float | str:
    value = float(text)
    return value if isfinite(value) else text


class FrameReconstructor:
    """Gives a thread's frames back in the seed's form, fed with its events in order from seq 1.

    The seed's form: the runtime's frame with `seq` added; in a state frame that has files, the whole
    file map with `content` as a list of lines, whatever form the runtime used. A run that ended
    otherwise than the runtime said is told as an `error` frame and an `end` frame.
    """

    def __init__(self) -> None:
        self._tracks = DeltaContext()
        self._files: dict[str, bytes] = {}
        self._error_told = False
        #: The seq told last.
        self.seq = 0

    def copy(self) -> FrameReconstructor:
        """One that goes on from here by itself."""
        other = FrameReconstructor()
        other._tracks = copy(self._tracks)
        other._files = dict(self._files)
        other._error_told = self._error_told
        other.seq = self.seq
        return other

    @staticmethod
    def needs_event(delta: bytes) -> bool:
        """Whether `tell` needs the event's kind: for all but token frames."""
        return not delta or delta[0] != Form.TOKEN

    def tell(self, seq: int, delta: bytes, kind: EventKind | None) -> list[bytes]:
        """The frames of event `seq`: mostly one, none for what only the hub knows.

        `kind` is the event's kind, needed where `needs_event` says so.
        """
        text = self.pass_by(seq, delta, kind)
        if isinstance(kind, Terminal):
            return self._last_words(seq, text, kind)
        if isinstance(kind, UpstreamFrame):
            return [with_seq(kind.body, seq, trusted=False)]
        if isinstance(kind, StateUpdate):
            return [with_seq(self._filled(text) if delta else self._own_state_frame(), seq)]
        return [with_seq(text, seq)] if delta else []

    def pass_by(self, seq: int, delta: bytes, kind: EventKind | None) -> bytes:
        """Go past event `seq` without making its frames; what its delta knows of the frame's text."""
        if seq != self.seq + 1:
            raise ValueError(f"a retelling goes in order: seq {seq} after {self.seq}")
        self.seq = seq
        text = self._tracks.read(delta)[1] if delta else b""
        if isinstance(kind, StateUpdate):
            self._note(kind.files)
        elif isinstance(kind, UpstreamFrame):
            self._error_told |= kind.reason is FrameReason.ERROR_REPORT
        return text

    def _last_words(self, seq: int, end: bytes, terminal: Terminal) -> list[bytes]:
        frames = [with_seq(end or dump({"event_type": "end", "data": {}}), seq)]
        if terminal.outcome is not Outcome.COMPLETED and not self._error_told:
            data = {"error": terminal.message, "context": terminal.reason}
            frames.insert(0, dump({"event_type": "error", "data": data}))
        return frames

    def _note(self, changes: tuple[FileChange, ...]) -> None:
        for change in changes:
            if change.file is None:
                self._files.pop(change.path, None)
            else:
                self._files[change.path] = dump(change.path) + b":" + dump(change.file.legacy_form())

    def _filled(self, text: bytes) -> bytes:
        """The text of a state frame with the files in their hole."""
        if MEMBERS_PLACEHOLDER in text:
            return text.replace(MEMBERS_PLACEHOLDER, b"".join(file + b"," for file in self._files.values()))
        return text.replace(FILES_PLACEHOLDER, self._file_map()) if FILES_PLACEHOLDER in text else text

    def _file_map(self) -> bytes:
        return b"{" + b",".join(self._files.values()) + b"}"

    def _own_state_frame(self) -> bytes:
        """A state frame for files that the hub learnt without a frame."""
        return b'{"event_type":"on_state_update","data":{"files":' + self._file_map() + b"}}"


def with_seq(frame: bytes, seq: int, *, trusted: bool = True) -> bytes:
    """The frame with a `seq` member, as proper JSON. A frame that is no JSON object is carried as a
    string under `data.raw`, with `event_type` `unknown`, so that a seed reader still gets an object.

    trusted: the frame is known to be a JSON object in proper JSON, so that it need not be read.
    """
    stripped = frame.rstrip(b" \t\r\n")
    if trusted and b'"seq"' not in stripped and stripped.startswith(b'{"') and stripped.endswith(b"}"):
        return stripped[:-1] + b',"seq":%d}' % seq
    try:
        value = load(frame.decode())
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        value = {"event_type": "unknown", "data": {"raw": frame.decode("utf-8", "replace")}}
    return dump({**value, "seq": seq})
