"""Segments as entries of a stream: what comes out is what went in, or a hint to read."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment
from server.encoding.event_batch import delimited_delta, delimited_event
from server.wakeups.entries import ENTRY_BYTES, PendingEntry, entry_of, segment_of

ROWS = st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=300)), min_size=1, max_size=20)


def segment(first: int, rows: list[tuple[bytes, bytes]], *, terminal: bool = False) -> Segment:
    batch = b"".join(delimited_event(event) for event, _ in rows)
    deltas = b"".join(delimited_delta(delta) for _, delta in rows)
    return Segment(first, first + len(rows) - 1, batch, deltas, terminal=terminal)


def wire_form(fields: dict[Any, Any]) -> dict[bytes, bytes]:
    """What a server gives back: bytes alone."""
    return {key: value if isinstance(value, bytes) else str(value).encode() for key, value in fields.items()}


def entry(*segments: Segment, epoch: int = 1, max_bytes: int = 1 << 30) -> tuple[dict[bytes, bytes], int]:
    waiting = PendingEntry(segments[0].first_seq)
    for one in segments:
        waiting.add(one, JournalHead(one.last_seq, epoch, 1, one.terminal), max_bytes=max_bytes)
    return wire_form(entry_of(waiting)), waiting.last_seq


@given(st.integers(1, 2**31), st.lists(ROWS, min_size=1, max_size=4), st.integers(1, 99), st.booleans())
def test_contiguous_segments_come_back_as_one(
    first: int, parts: list[list[tuple[bytes, bytes]]], epoch: int, terminal: bool
) -> None:
    segments, at = [], first
    for number, rows in enumerate(parts, 1):
        segments.append(segment(at, rows, terminal=terminal and number == len(parts)))
        at += len(rows)
    told = segment_of(*entry(*segments, epoch=epoch))
    assert told is not None
    whole, head = told
    rows = [row for part in parts for row in part]
    assert list(zip(whole.events(), whole.deltas(), strict=True)) == rows
    assert (whole.first_seq, whole.last_seq, whole.terminal) == (first, at - 1, terminal)
    assert head == JournalHead(at - 1, epoch, 1, terminal)


def test_another_version_is_a_hint() -> None:
    fields, last_seq = entry(segment(1, [(b"a", b"")]))
    assert segment_of({**fields, b"v": b"1"}, last_seq) is None


def test_what_is_large_or_has_no_room_travels_as_a_hint() -> None:
    small, large = segment(1, [(b"a", b"")]), segment(2, [(bytes(ENTRY_BYTES), b"")])
    for fields, last_seq in (entry(small, large), entry(large), entry(small, max_bytes=1)):
        assert segment_of(fields, last_seq) is None
        assert not {b"b", b"r"} & fields.keys()
    assert entry(small, large)[1] == 2
