"""The framing of batches: varints, events and deltas."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.encoding.event_batch import (
    batch_of,
    delimited_delta,
    delimited_event,
    delta_batch_of,
    event_ends,
    read_varint,
    split_deltas,
    split_events,
    varint,
)


@given(st.integers(0, 2**70 - 1), st.binary(max_size=3))
def test_a_varint_is_read_back_with_the_place_after_it(number: int, behind: bytes) -> None:
    written = varint(number)
    assert read_varint(b"\xff" + written + behind, 1) == (number, 1 + len(written))


@given(st.integers(0, 2**70 - 1))
def test_a_varint_that_is_cut_short_is_noticed(number: int) -> None:
    with pytest.raises(IndexError):
        read_varint(varint(number)[:-1], 0)


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_delimited_entries_are_split_again(entries: list[bytes]) -> None:
    batch = b"".join(map(delimited_event, entries))
    assert split_events(batch, event_ends(batch)) == entries
    assert split_deltas(b"".join(map(delimited_delta, entries))) == entries


@pytest.mark.parametrize("size", [0, 127, 128, 2047, 2048, 16_383, 16_384])
def test_a_batch_has_the_entries_of_its_events_whatever_their_length(size: int) -> None:
    entries = [b"x" * size, b"", b"y" * (size + 1)]
    assert batch_of(entries) == b"".join(map(delimited_event, entries))
    assert delta_batch_of(entries) == b"".join(map(delimited_delta, entries))
