from __future__ import annotations

import base64
import struct
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.db.page_tokens import page_place, page_token
from server.domain.errors import InvalidArgument

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
