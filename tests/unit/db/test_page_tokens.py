from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.db.page_tokens import page_place, page_token
from server.domain.errors import InvalidArgument

aware = st.datetimes(timezones=st.just(UTC))


@given(aware, st.uuids())
def test_a_token_names_its_place_to_the_microsecond(created_at: datetime, item: UUID) -> None:
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


@pytest.mark.parametrize("microseconds", [2**63 - 1, -(2**63)])
def test_a_time_that_does_not_exist_is_refused(microseconds: int) -> None:
    import base64
    import struct

    token = (
        base64.urlsafe_b64encode(struct.pack(">cq16s", b"p", microseconds, bytes(16))).decode().rstrip("=")
    )
    with pytest.raises(InvalidArgument):
        page_place(b"p", token)
