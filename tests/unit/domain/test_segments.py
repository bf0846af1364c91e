"""Segments: packing, cutting and shared renderings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.journal.segments import Segment
from server.encoding.event_batch import delimited_delta, delimited_event

RECORDS = st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=300)), min_size=1, max_size=8)


def packed(records: list[tuple[bytes, bytes]], first_seq: int = 1, *, terminal: bool = False) -> Segment:
    return Segment(
        first_seq,
        first_seq + len(records) - 1,
        b"".join(delimited_event(event) for event, _ in records),
        b"".join(delimited_delta(delta) for _, delta in records),
        terminal=terminal,
    )


def records_of(segment: Segment) -> list[tuple[bytes, bytes]]:
    return list(zip(segment.events(), segment.deltas(), strict=True))


@given(RECORDS)
def test_events_and_deltas_come_out_as_they_went_in(records: list[tuple[bytes, bytes]]) -> None:
    assert records_of(packed(records)) == records


@given(RECORDS, st.integers(1, 1000), st.data())
def test_a_segment_can_be_cut_at_any_seq(
    records: list[tuple[bytes, bytes]], first_seq: int, data: st.DataObject
) -> None:
    segment = packed(records, first_seq, terminal=True)
    cut = data.draw(st.integers(first_seq - 1, segment.last_seq))
    taken = cut - first_seq + 1
    if cut >= first_seq:
        head = segment.up_to(cut)
        assert (head.first_seq, head.last_seq) == (first_seq, cut)
        assert records_of(head) == records[:taken]
        assert head.terminal is (cut == segment.last_seq)
    if cut < segment.last_seq:
        tail = segment.after(cut)
        assert (tail.first_seq, tail.last_seq, tail.terminal) == (cut + 1, segment.last_seq, True)
        assert records_of(tail) == records[taken:]


def test_a_cut_that_takes_all_is_the_segment_itself() -> None:
    segment = packed([(b"a", b""), (b"b", b"")])
    assert segment.after(0) is segment
    assert segment.up_to(2) is segment


def test_a_batch_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="EventBatch"):
        Segment(1, 1, b"\x12\x00", b"\x00").events()


def test_a_rendering_is_made_once_and_counted() -> None:
    grown: list[int] = []
    segment = packed([(b"a", b"")]).observed_by(lambda _, size: grown.append(size))
    before = segment.size_bytes
    assert segment.get_cached("x") is None
    assert segment.cached("x", lambda _: b"12345") is segment.cached("x", lambda _: b"another")
    assert segment.get_cached("x") == b"12345"
    assert segment.size_bytes == before + 5
    assert grown == [5]
