"""The codec of frame deltas: the part of a frame's text that its event does not contain (ADR 0004).

State frames repeat all messages and all files, token frames repeat all metadata. So a delta is the difference
from the previous frame of the same kind. It has one byte for the encoding, eight bytes of the frame's BLAKE2b
digest, then one or two differences or a text.

A difference from previous bytes has the length of the common head, the length of the common tail, twice the
length of the insertion plus one if it is deflated (all as varints), and the insertion. A long insertion is
deflated with the previous bytes as its dictionary: frames of one run repeat the same texts in another order.
"""

from __future__ import annotations

import zlib
from enum import IntEnum
from hashlib import blake2b

from server.encoding.event_batch import read_varint, varint

#: Stand in a skeleton for the messages value and for the files value. JSON text cannot hold NUL.
MESSAGES_PLACEHOLDER = b"\x00M"
FILES_PLACEHOLDER = b"\x00F"
#: Stands in the files value for the members that are files, in front of the members that are not
#: (UnreadFile). If a path is both, the frame had the member that is not a file, so that one comes last.
MEMBERS_PLACEHOLDER = b"\x00E"

DIGEST_BYTES = 8

#: Insertions of this size and more are deflated; for smaller ones it is not worth the effort.
DEFLATE_FROM_BYTES = 128
#: Deflate without a header, and the largest dictionary that it takes.
_RAW = -15
_DICTIONARY_BYTES = 1 << 15


def frame_digest(frame: bytes) -> bytes:
    """Eight bytes that tell frames of one run apart, to align a replay with the journal."""
    return blake2b(frame, digest_size=DIGEST_BYTES).digest()


def digest_of(delta: bytes) -> bytes | None:
    """The digest of the frame that a delta belongs to; None for an event that the hub made."""
    return delta[1 : 1 + DIGEST_BYTES] if delta else None


class Encoding(IntEnum):
    """How a delta gives its frame's text."""

    #: One difference from the previous token frame.
    TOKEN = 1
    #: A difference from the previous skeleton, and one from the previous messages text; the files are a
    #: placeholder in the skeleton.
    STATE = 2
    #: The text is the event's own body (UpstreamFrame).
    EVENT_BODY = 3
    #: The text is in the delta.
    FULL_TEXT = 4


_TOKEN = bytes((Encoding.TOKEN,))
_STATE = bytes((Encoding.STATE,))
_EVENT_BODY = bytes((Encoding.EVENT_BODY,))
_FULL_TEXT = bytes((Encoding.FULL_TEXT,))


def encode_delta(old: bytes, new: bytes) -> bytes:
    """The difference from `old` to `new`: common head, common tail, insertion."""
    shorter = min(len(old), len(new))
    head = shorter if old[:shorter] == new[:shorter] else _common_head(old, new, shorter)
    tail = _common_tail(old, new, shorter - head)
    inserted = new[head : len(new) - tail]
    if len(inserted) < DEFLATE_FROM_BYTES:
        return varint(head) + varint(tail) + varint(len(inserted) << 1) + inserted
    deflate = zlib.compressobj(wbits=_RAW, zdict=old[-_DICTIONARY_BYTES:])
    inserted = deflate.compress(inserted) + deflate.flush()
    return varint(head) + varint(tail) + varint(len(inserted) << 1 | 1) + inserted


# Both by bisection, so that the comparison is done in C.


def _common_head(old: bytes, new: bytes, limit: int) -> int:
    """Length of the common start, at most `limit`."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if old[low:middle] == new[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _common_tail(old: bytes, new: bytes, limit: int) -> int:
    """Length of the common end, at most `limit`."""
    low, high = 0, limit
    old_end, new_end = len(old), len(new)
    while low < high:
        middle = (low + high + 1) // 2
        if old[old_end - middle : old_end - low] == new[new_end - middle : new_end - low]:
            low = middle
        else:
            high = middle - 1
    return low


def apply_delta(old: bytes, delta: bytes, at: int) -> tuple[bytes, int]:
    """The new bytes, and the index after the difference at `at`."""
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
    """The previous texts that deltas are relative to; one object per run and reader, used in order.

    In the `encode_*` methods, `frame` is the runtime's frame, whose digest is stored; `text` is the same
    as valid JSON, if the frame is not.
    """

    def __init__(self) -> None:
        self.token = b""
        self.skeleton = b""
        self.messages = b""

    def encode_token(self, frame: bytes, text: bytes | None = None) -> bytes:
        """The delta of a token frame."""
        text = frame if text is None else text
        delta = _TOKEN + frame_digest(frame) + encode_delta(self.token, text)
        self.token = text
        return delta

    def encode_state(self, frame: bytes, skeleton: bytes, messages: bytes | None) -> bytes:
        """The delta of a state frame: its skeleton, and its messages value if it has one."""
        delta = _STATE + frame_digest(frame) + encode_delta(self.skeleton, skeleton)
        self.skeleton = skeleton
        if messages is not None:
            delta += encode_delta(self.messages, messages)
            self.messages = messages
        return delta

    def encode_event_body(self, frame: bytes) -> bytes:
        """The delta of a frame whose event holds the frame itself."""
        return _EVENT_BODY + frame_digest(frame)

    def encode_full_text(self, frame: bytes, text: bytes | None = None) -> bytes:
        """The delta of any other frame, such as `end`."""
        return _FULL_TEXT + frame_digest(frame) + (frame if text is None else text)

    def decode(self, delta: bytes) -> tuple[Encoding, bytes]:
        """The encoding, and the frame's text as far as the delta has it.

        TOKEN and FULL_TEXT: the text. STATE: the skeleton with its messages filled in, and placeholders for
        the files. EVENT_BODY: nothing.
        """
        encoding = Encoding(delta[0])
        at = 1 + DIGEST_BYTES
        if encoding is Encoding.TOKEN:
            self.token, _ = apply_delta(self.token, delta, at)
            return encoding, self.token
        if encoding is Encoding.STATE:
            self.skeleton, at = apply_delta(self.skeleton, delta, at)
            if at < len(delta):
                self.messages, _ = apply_delta(self.messages, delta, at)
            return encoding, self.skeleton.replace(MESSAGES_PLACEHOLDER, self.messages)
        return encoding, delta[at:]
