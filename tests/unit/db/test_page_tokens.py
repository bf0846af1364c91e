from __future__ import annotations

import base64
import re
import struct
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.db.page_tokens import (
    FRAMES,
    SCAN,
    event_place,
    event_token,
    page_place,
    page_token,
    shape_place,
    shape_token,
)
from server.domain.errors import InvalidArgument
from server.wire.pages import FRAMES_CURSOR, SCAN_CURSOR, SHAPES_CURSOR

aware = st.datetimes(timezones=st.just(UTC))


@given(aware, st.uuids())
def test_a_token_names_its_position_to_the_microsecond(created_at: datetime, item: UUID) -> None:
    assert page_place(b"p", page_token(b"p", created_at, item)) == (created_at, item)


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        page_place(b"p", text)
    assert set(refused.value.fields) == {"cursor"}


def test_another_lists_token_and_a_padded_one_are_refused() -> None:
    token = page_token(b"p", datetime(2026, 1, 1, tzinfo=UTC), UUID(int=7))
    for wrong in (
        page_token(b"w", datetime(2026, 1, 1, tzinfo=UTC), UUID(int=7)),
        token + "==",
        token[:-1] + "_",
    ):
        with pytest.raises(InvalidArgument):
            page_place(b"p", wrong)


@pytest.mark.parametrize(("microseconds", "year"), [(2**63 - 1, 9999), (-(2**63), 1)])
def test_a_time_outside_the_calendar_is_the_nearest_time_in_it(microseconds: int, year: int) -> None:
    packed = struct.pack(">cq16s", b"p", microseconds, bytes(16))
    place, item = page_place(b"p", base64.urlsafe_b64encode(packed).decode().rstrip("="))
    assert (place.year, item) == (year, UUID(int=0))


@given(aware, st.binary(min_size=8, max_size=8))
def test_a_token_of_shapes_names_its_position_and_has_the_form_that_is_documented(
    newest_at: datetime, shape: bytes
) -> None:
    token = shape_token(newest_at, shape.hex())
    assert shape_place(token) == (newest_at, shape.hex())
    assert re.fullmatch(SHAPES_CURSOR["pattern"], token)


@pytest.mark.parametrize(
    ("kind", "other", "form"), [(FRAMES, SCAN, FRAMES_CURSOR), (SCAN, FRAMES, SCAN_CURSOR)]
)
@given(thread=st.uuids(), seq=st.integers(0, 2**31 - 1))
def test_a_token_of_frames_names_its_position_in_its_list_alone(
    kind: bytes, other: bytes, form: dict[str, str], thread: UUID, seq: int
) -> None:
    token = event_token(kind, thread, seq)
    assert event_place(kind, token) == (thread, seq)
    assert re.fullmatch(form["pattern"], token)
    with pytest.raises(InvalidArgument):
        event_place(other, token)


def test_a_seq_that_no_column_can_hold_is_the_largest_one() -> None:
    token = event_token(FRAMES, UUID(int=7), 2**32 - 1)
    assert event_place(FRAMES, token) == (UUID(int=7), 2**31 - 1)
