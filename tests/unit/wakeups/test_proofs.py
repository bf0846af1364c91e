"""The proof of an entry: void for everything that a replica did not write there."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment
from server.encoding.event_batch import delimited_delta, delimited_event
from server.wakeups.entries import PendingEntry, entry_of, segment_of
from server.wakeups.proofs import PROOF, Proofs

ROWS = st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=300)), min_size=1, max_size=20)
THREAD, OTHER = UUID(int=1), UUID(int=2)
PROOFS = Proofs(b"a key of thirty-two bytes, shared")


def proven(rows: list[tuple[bytes, bytes]], *, terminal: bool = False) -> dict[bytes, bytes]:
    """An entry of so many events, from the first on, as a server gives it back."""
    batch = b"".join(delimited_event(event) for event, _ in rows)
    deltas = b"".join(delimited_delta(delta) for _, delta in rows)
    pending = PendingEntry(1)
    head = JournalHead(len(rows), 1, 1, terminal)
    pending.add(Segment(1, len(rows), batch, deltas, terminal=terminal), head, max_bytes=1 << 30)
    fields: dict[Any, Any] = entry_of(pending)
    fields[PROOF] = PROOFS.of_entry(THREAD, len(rows), fields)
    return {key: value if isinstance(value, bytes) else str(value).encode() for key, value in fields.items()}


@given(ROWS)
def test_an_entry_has_its_proof_for_its_thread_and_seq_alone(rows: list[tuple[bytes, bytes]]) -> None:
    fields, last_seq = proven(rows), len(rows)
    assert PROOFS.hold_for_entry(THREAD, last_seq, fields)
    assert not PROOFS.hold_for_entry(OTHER, last_seq, fields)
    assert not PROOFS.hold_for_entry(THREAD, last_seq + 1, fields)
    assert not Proofs(b"another key of thirty-two bytes!!").hold_for_entry(THREAD, last_seq, fields)


@given(ROWS, st.data())
def test_an_entry_that_was_cut_or_lengthened_has_no_proof(
    rows: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    fields, last_seq = proven(rows), len(rows)
    name = data.draw(st.sampled_from((b"b", b"r")))
    cut = data.draw(st.integers(0, len(fields[name]) - 1))
    for value in (fields[name][:cut], fields[name] + b"\0", fields[name] + fields[name][:1]):
        assert not PROOFS.hold_for_entry(THREAD, last_seq, {**fields, name: value})
    # The same bytes, divided in another way.
    whole = fields[b"b"] + fields[b"r"]
    size = data.draw(st.integers(0, len(whole)).filter(lambda at: at != len(fields[b"b"])))
    divided = {**fields, b"b": whole[:size], b"r": whole[size:]}
    assert not PROOFS.hold_for_entry(THREAD, last_seq, divided)


@pytest.mark.parametrize("name", [b"f", b"e", b"t", b"b", b"m"])
def test_an_entry_that_misses_a_field_has_no_proof(name: bytes) -> None:
    fields = proven([(b"a", b"b")])
    del fields[name]
    assert not PROOFS.hold_for_entry(THREAD, 1, fields)


@given(st.dictionaries(st.sampled_from([b"v", b"f", b"e", b"t", b"b", b"r", b"m"]), st.binary(max_size=40)))
def test_no_fields_of_any_shape_raise(fields: dict[bytes, bytes]) -> None:
    assert not PROOFS.hold_for_entry(THREAD, 1, {b"v": b"2", **fields})


@pytest.mark.parametrize("terminal", [False, True])
def test_what_has_a_proof_is_read_as_it_was_written(*, terminal: bool) -> None:
    fields = proven([(b"a", b"")], terminal=terminal)
    same = [
        fields,
        fields | {b"t": b"0" + fields[b"t"]},
        fields | {b"f": b" 1 "},
        fields | {b"x": b"y"},
    ]
    for each in same:
        assert PROOFS.hold_for_entry(THREAD, 1, each)
        told = segment_of(each, 1)
        assert told is not None
        segment, head = told
        assert (segment.first_seq, segment.terminal, head.terminal) == (1, terminal, terminal)
        assert segment.events() == [b"a"]


def test_a_hint_has_a_proof_and_no_segment() -> None:
    pending = PendingEntry(1)
    pending.add(Segment(1, 1, b"\x02\x0a\x00", b"\x00"), JournalHead(1, 1, 1, False), max_bytes=0)
    fields: dict[Any, Any] = entry_of(pending)
    fields[PROOF] = PROOFS.of_entry(THREAD, 1, fields)
    assert PROOFS.hold_for_entry(THREAD, 1, fields)
    assert segment_of(fields, 1) is None
