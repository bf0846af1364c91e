"""Segments: packing, cutting and shared renderings."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.journal.segments import Segment
from server.domain.loop_time import LoopTime
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
    assert segment.cached("x", lambda _: b"12345") is segment.cached("x", lambda _: b"another")
    assert segment.size_bytes == before + 5
    assert grown == [5]


def test_a_segment_of_which_nothing_was_made_is_observed_itself() -> None:
    segment = packed([(b"a", b""), (b"b", b"")])
    assert segment.observed_by(lambda *_: None) is segment


@pytest.mark.parametrize("kind", ["observed", "rendered", "part"])
def test_who_observes_a_segment_hears_nothing_of_other_uses_of_it(kind: str) -> None:
    heard: list[int] = []
    whole = packed([(b"a", b""), (b"b", b"")])
    segment = whole.after(1) if kind == "part" else whole
    if kind == "observed":
        segment.observed_by(lambda *_: None)
    if kind == "rendered":
        segment.cached("x", lambda _: b"12345")
    observed = segment.observed_by(lambda _, size: heard.append(size))
    for other in (whole, segment):
        other.cached("y", lambda _: b"123")
        other.cached_each("z", lambda part: part.events())
    assert (records_of(observed), observed.made("x"), heard) == (records_of(segment), None, [])
    observed.cached_each("z", lambda part: part.events())
    assert len(heard) == 1


def test_an_events_rendering_is_made_once_for_all_parts_of_a_segment() -> None:
    made: list[bytes] = []

    def render(part: Segment) -> list[bytes]:
        made.extend(part.events())
        return [event.upper() for event in part.events()]

    segment = packed([(b"a", b""), (b"b", b""), (b"c", b"")], 5)
    assert segment.after(5).cached_each("x", render) == [b"B", b"C"]
    assert segment.up_to(6).cached_each("x", render) == [b"A", b"B"]
    assert segment.cached_each("x", render) == [b"A", b"B", b"C"]
    assert sorted(made) == [b"a", b"b", b"c"]


async def test_small_events_are_rendered_a_few_in_each_turn_of_the_loop() -> None:
    in_turn: Counter[int] = Counter()
    turn = 0

    def next_turn() -> None:
        nonlocal turn
        turn += 1
        asyncio.get_running_loop().call_soon(next_turn)

    seconds = 0.0

    def render(part: Segment) -> list[bytes]:
        nonlocal seconds
        in_turn[turn] += len(part.events())
        seconds += 0.00004 * len(part.events())
        return [event.upper() for event in part.events()]

    events = [b"%d" % number for number in range(1000)]
    segments = [
        packed([(event, b"") for event in events]).observed_by(lambda *_: None, time)
        for time in [LoopTime(0.001, now=lambda: seconds)] * 3
    ]
    next_turn()
    # Two readers of each segment, one of them from the middle on.
    readers = [reader for segment in segments for reader in (segment, segment.after(500))]
    await asyncio.gather(*(reader.prepare_each("x", render) for reader in readers))
    assert in_turn.total() == 3 * len(events), "each event is rendered once"
    assert max(in_turn.values()) <= 64
    for reader in readers:
        assert reader.cached_each("x", render)[-1] == b"999"
    assert in_turn.total() == 3 * len(events)


def test_those_who_need_the_same_part_share_it() -> None:
    segment = packed([(b"a", b""), (b"b", b""), (b"c", b"")])
    part = segment.after(1)
    assert segment.after(1) is part
    assert part.up_to(2) is segment.up_to(2).after(1)


@given(RECORDS, st.integers(1, 1000))
def test_a_segment_is_split_into_parts_of_a_size_or_of_one_event(
    records: list[tuple[bytes, bytes]], max_bytes: int
) -> None:
    parts = list(packed(records, 7, terminal=True).split(max_bytes))
    assert [record for part in parts for record in records_of(part)] == records
    assert [part.terminal for part in parts] == [False] * (len(parts) - 1) + [True]
    assert all(len(part.batch) <= max_bytes or part.first_seq == part.last_seq for part in parts)
    assert all(
        len(before.batch) + len(after.up_to(after.first_seq).batch) > max_bytes
        for before, after in pairwise(parts)
    )


@given(RECORDS, st.integers(0, 12))
def test_entries_come_with_their_seq_from_any_place_on(records: list[tuple[bytes, bytes]], seq: int) -> None:
    segment = packed(records, 3)
    entries = [(at, *records[at - 3]) for at in range(max(seq + 1, 3), 3 + len(records))]
    assert list(segment.entries_after(seq)) == entries


def test_a_segment_is_freed_as_soon_as_nobody_has_it() -> None:
    """It must not wait for a collection of cycles: large ones come fast."""
    gc.disable()
    try:
        segment = packed([(b"a", b""), (b"b", b"")])
        part = segment.after(1)
        segment.cached_each("x", lambda s: list(s.events()))
        gone = weakref.ref(segment)
        del segment, part
        assert gone() is None
    finally:
        gc.enable()
