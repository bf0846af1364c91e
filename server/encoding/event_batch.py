"""The protobuf framing of an `EventBatch` (`refinement.proto`), and the same framing for deltas.

An `EventBatch` is the concatenation of length-delimited events under field 1. Deltas are length-delimited
without a key, since they are never sent to clients.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

#: Protobuf key of field 1 with wire type 2: `EventBatch.events`.
EVENT_KEY = 0x0A
#: Wire types of a protobuf field.
VARINT, DELIMITED = 0, 2


def varint(number: int) -> bytes:
    """A non-negative number as a protobuf varint."""
    if number < 0x80:
        return bytes((number,))
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


#: The varints of small numbers, such as most lengths: a look at them takes a tenth of a call.
SHORT_VARINTS = tuple(map(varint, range(1 << 11)))


def field_key(number: int, wire_type: int) -> bytes:
    """The protobuf key of a field."""
    return varint(number << 3 | wire_type)


#: Of the tenth byte of a varint.
_LAST_SHIFT = 63


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The varint at `at` and the index after it.

    Raises IndexError when the data ends inside it, and when it has more than ten bytes: a number of millions
    of them would take hours.
    """
    number = data[at]
    at += 1
    if number < 0x80:
        return number, at
    number &= 0x7F
    shift = 7
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
        if shift > _LAST_SHIFT:
            raise IndexError("a varint has at most ten bytes")


def delimited_event(event: bytes) -> bytes:
    """A serialised event as an entry of an `EventBatch`."""
    return b"\x0a" + varint(len(event)) + event


def delimited_delta(delta: bytes) -> bytes:
    """A delta as an entry of a batch of deltas."""
    return varint(len(delta)) + delta


def batch_of(events: Iterable[bytes]) -> bytes:
    """The `EventBatch` of serialised events."""
    short = SHORT_VARINTS
    return b"".join(
        [
            b"\x0a" + (short[size] if (size := len(event)) < len(short) else varint(size)) + event
            for event in events
        ]
    )


def delta_batch_of(deltas: Iterable[bytes]) -> bytes:
    """The batch of deltas."""
    short = SHORT_VARINTS
    return b"".join(
        [(short[size] if (size := len(delta)) < len(short) else varint(size)) + delta for delta in deltas]
    )


def event_ends(batch: bytes) -> list[int]:
    """The index after each event's entry. Raises ValueError for bytes that are not an `EventBatch`."""
    ends: list[int] = []
    at = 0
    while at < len(batch):
        if batch[at] != EVENT_KEY:
            raise ValueError("the bytes are not a serialised EventBatch")
        size, at = read_varint(batch, at + 1)
        at += size
        ends.append(at)
    return ends


def split_events(batch: bytes, ends: Sequence[int]) -> list[bytes]:
    """The serialised events of an `EventBatch`; `ends` as from `event_ends`."""
    found: list[bytes] = []
    at = 0
    for end in ends:
        _, start = read_varint(batch, at + 1)
        found.append(batch[start:end])
        at = end
    return found


def delta_ends(batch: bytes) -> list[int]:
    """The index after each entry of a batch of deltas."""
    ends: list[int] = []
    at = 0
    while at < len(batch):
        size, at = read_varint(batch, at)
        at += size
        ends.append(at)
    return ends


def split_deltas(batch: bytes) -> list[bytes]:
    """The deltas of a batch of deltas."""
    found: list[bytes] = []
    at = 0
    while at < len(batch):
        size, at = read_varint(batch, at)
        found.append(batch[at : at + size])
        at += size
    return found
