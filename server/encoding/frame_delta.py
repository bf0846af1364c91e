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
from collections.abc import Callable, Sequence
from enum import IntEnum
from hashlib import blake2b
from typing import NamedTuple, TypeAlias

from server.encoding.event_batch import SHORT_VARINTS, read_varint, varint

#: Stand in a skeleton for the messages value and for the files value. JSON text cannot hold NUL.
MESSAGES_PLACEHOLDER = b"\x00M"
FILES_PLACEHOLDER = b"\x00F"
#: Stands in the files value for the members that are files, in front of the members that are not
#: (UnreadFile). If a path is both, the frame had the member that is not a file, so that one comes last.
MEMBERS_PLACEHOLDER = b"\x00E"

DIGEST_BYTES = 8
#: Bytes of the longest frame that is hashed at once, and of the shortest piece of a longer one. A piece goes
#: up to the next of these signs, so that what comes before it does not move it.
WHOLE_BYTES, _LEAST_PIECE_BYTES, _PIECE_BEGINS = 16 << 10, 4 << 10, b"{"
_PIECE_DIGEST_BYTES = 16
#: Places around its own at which a piece of the frame before is looked for.
_NEAR = 1

#: Insertions of this size and more are deflated; for smaller ones it is not worth the effort.
DEFLATE_FROM_BYTES = 128
#: Deflate without a header, and the largest dictionary that it takes.
_RAW = -15
_DICTIONARY_BYTES = 1 << 15
#: What is used of it: as much as fits the window of 13 bits. To make the window of 15 bits takes zlib longer
#: than to deflate an insertion, and gives hardly fewer bytes.
_WINDOW, _USED_BYTES = -13, 1 << 13
_LEVEL, _MEMORY_LEVEL = 3, 6


def frame_digest(frame: bytes) -> bytes:
    """Eight bytes that tell frames of one run apart, to align a replay with the journal. That of a long frame
    is the digest of its pieces' digests: pieces that the frame before has, too, need not be hashed again."""
    return pieces_digest(frame, pieces_of(frame))


class Piece(NamedTuple):
    """A piece of a long frame: where it begins and ends, and its digest."""

    start: int
    end: int
    digest: bytes


def pieces_of(frame: bytes, last: bytes = b"", known: Sequence[Piece] = ()) -> list[Piece]:
    """The pieces of a frame, none of a short one. last, known: the frame before, and its pieces."""
    found, view = list[Piece](), memoryview(frame)
    at = 0 if len(frame) > WHOLE_BYTES else len(frame)
    #: The piece that is expected next: they come in the same order, and most are the same.
    expected = 0
    while at < len(frame):
        end = frame.find(_PIECE_BEGINS, at + _LEAST_PIECE_BYTES)
        end = len(frame) if end < 0 else end
        first = max(expected - _NEAR, 0)
        expected += 1
        digest = None
        for index, piece in enumerate(known[first : expected + _NEAR], first):
            if piece.end - piece.start == end - at and last.startswith(frame[at:end], piece.start):
                expected, digest = index + 1, piece.digest
                break
        if digest is None:
            digest = blake2b(view[at:end], digest_size=_PIECE_DIGEST_BYTES).digest()
        found.append(Piece(at, end, digest))
        at = end
    return found


def pieces_digest(frame: bytes, pieces: Sequence[Piece]) -> bytes:
    """As `frame_digest`, of a frame with these pieces."""
    return whole_digest(b"".join([piece.digest for piece in pieces]) if pieces else frame)


def whole_digest(frame: bytes) -> bytes:
    """The digest of a frame as earlier releases made it, whatever its length."""
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
    return _encode(old, new, 0, 0)[0]


#: As `encode_delta`. What it gives may differ in how an insertion is deflated.
EncodeDelta: TypeAlias = Callable[[bytes, bytes], bytes]


def _same(text: bytes) -> bytes:
    """The difference from a text to itself."""
    size = len(text)
    return (SHORT_VARINTS[size] if size < len(SHORT_VARINTS) else varint(size)) + b"\0\0"


def changed_bytes(old: bytes, new: bytes) -> int:
    """Bytes of `new` between the head and the tail that both have."""
    shorter = min(len(old), len(new))
    head = _common_head(old, new, shorter, 0)
    return len(new) - head - _common_tail(old, new, shorter - head, 0)


def _encode(old: bytes, new: bytes, near_head: int, near_tail: int) -> tuple[bytes, int, int]:
    """The difference, and the lengths of its head and tail. near_head, near_tail: about those lengths, if
    they are known; they only save work."""
    shorter = min(len(old), len(new))
    whole = new.startswith(old) or old.startswith(new)
    head = shorter if whole else _common_head(old, new, shorter, near_head)
    tail = _common_tail(old, new, shorter - head, near_tail)
    return varint(head) + varint(tail) + _insertion(old, new[head : len(new) - tail]), head, tail


def _insertion(old: bytes, inserted: bytes) -> bytes:
    """An insertion with its length."""
    if len(inserted) < DEFLATE_FROM_BYTES:
        return varint(len(inserted) << 1) + inserted
    deflate = zlib.compressobj(_LEVEL, wbits=_WINDOW, memLevel=_MEMORY_LEVEL, zdict=old[-_USED_BYTES:])
    deflated = deflate.compress(inserted) + deflate.flush()
    return varint(len(deflated) << 1 | 1) + deflated


# Both compare in C. They begin around the expected place, or else halve, and the XOR of a few bytes shows the
# first difference.

_FEW = 32
_HALF = _FEW // 2


def _common_head(old: bytes, new: bytes, limit: int, near: int) -> int:
    """Length of the common start, at most `limit`."""
    low, high = near - _HALF, min(near + _HALF, limit)
    if low <= 0 or low > limit or old[:low] != new[:low]:
        low, high = 0, limit
    while True:
        while high - low > _FEW:
            middle = (low + high) // 2
            if old[low:middle] == new[low:middle]:
                low = middle
            else:
                high = middle
        differing = int.from_bytes(old[low:high], "big") ^ int.from_bytes(new[low:high], "big")
        if differing or high == limit:
            return high - (differing.bit_length() + 7) // 8
        low, high = high, limit


def _common_tail(old: bytes, new: bytes, limit: int, near: int) -> int:
    """Length of the common end, at most `limit`."""
    end, new_end = len(old), len(new)
    low, high = near - _HALF, min(near + _HALF, limit)
    if low <= 0 or low > limit or old[end - low :] != new[new_end - low :]:
        low, high = 0, limit
    while True:
        while high - low > _FEW:
            middle = (low + high) // 2
            if old[end - middle : end - low] == new[new_end - middle : new_end - low]:
                low = middle
            else:
                high = middle
        differing = int.from_bytes(old[end - high : end - low], "little") ^ int.from_bytes(
            new[new_end - high : new_end - low], "little"
        )
        if differing or high == limit:
            return high - (differing.bit_length() + 7) // 8
        low, high = high, limit


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
        #: Lengths of the last token delta's head and tail; those of the next one are about the same.
        self._head = self._tail = 0
        #: The parts of the last similar tokens, and how deltas begin with 0, 1 or 2 more bytes of a head.
        self._parts: Sequence[bytes] = ()
        self._around_bytes = 0
        self._around: list[bytes] = []
        self.skeleton = b""
        self.messages = b""

    def encode_token(self, frame: bytes, text: bytes | None = None) -> bytes:
        """The delta of a token frame."""
        text = frame if text is None else text
        delta, self._head, self._tail = _encode(self.token, text, self._head, self._tail)
        self.token = text
        return _TOKEN + frame_digest(frame) + delta

    def encode_similar_tokens(
        self, frames: Sequence[bytes], literals: Sequence[bytes], parts: Sequence[bytes]
    ) -> tuple[list[bytes], list[bytes]]:
        """The digests and deltas of token frames that are `parts` with a literal between them, as the last
        token frame is. literals: those of the frames."""
        head, tail = len(parts[0]), len(parts[-1])
        alone = len(parts) == 2
        if parts is not self._parts:
            self._parts, self._around_bytes = parts, sum(map(len, parts))
            # The quotes are the same as a rule, and most texts begin with a space.
            self._around = [varint(head + same) + varint(tail + min(same, 1)) for same in (0, 1, 2)]
        around = self._around
        digests: list[bytes] = []
        deltas: list[bytes] = []
        old = self.token
        size_bytes = (len(old) - self._around_bytes) // (len(parts) - 1)
        last = old[head : head + size_bytes]
        for frame, literal in zip(frames, literals, strict=True):
            digest = frame_digest(frame)
            digests.append(digest)
            same = quotes = 0
            if literal[:1] == last[:1] and literal[-1:] == last[-1:]:
                quotes = 1
                same = 2 if literal[1:2] == last[1:2] and len(literal) > 2 < len(last) else 1
            inserted = literal[same : len(literal) - quotes]
            if not alone:
                inserted = frame[head + same : len(frame) - tail - quotes]
            if len(inserted) < DEFLATE_FROM_BYTES:
                deltas.append(_TOKEN + digest + around[same] + SHORT_VARINTS[len(inserted) << 1] + inserted)
            else:
                deltas.append(_TOKEN + digest + around[same] + _insertion(old, inserted))
            last, old = literal, frame
        self.token, self._head, self._tail = old, head, tail
        return digests, deltas

    def encode_state(
        self, digest: bytes, skeleton: bytes, messages: bytes | None, encode: EncodeDelta = encode_delta
    ) -> bytes:
        """The delta of a state frame with this digest: its skeleton, and its messages value if it has one.
        encode: gives the differences."""
        delta = _STATE + digest + encode(self.skeleton, skeleton)
        self.skeleton = skeleton
        if messages is not None:
            delta += encode(self.messages, messages)
            self.messages = messages
        return delta

    def encode_same_state(self, digest: bytes, *, with_messages: bool) -> bytes:
        """The same for a frame whose skeleton and messages value are the last one's."""
        delta = _STATE + digest + _same(self.skeleton)
        return delta + _same(self.messages) if with_messages else delta

    @property
    def size_bytes(self) -> int:
        """Bytes of the texts."""
        return len(self.token) + len(self.skeleton) + len(self.messages)

    def forget(self) -> None:
        """Drop the texts. The next delta of each kind has all of its frame's text: a difference without head
        and tail, which says the same whatever text comes before it."""
        self.token = self.skeleton = self.messages = b""

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
