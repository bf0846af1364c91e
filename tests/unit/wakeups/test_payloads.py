"""Hints between replicas as the payloads of notifications."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from server.wakeups.payloads import (
    NONCE,
    PAYLOAD_BYTES,
    PROGRESS,
    PROGRESS_CHARS,
    RELEASED,
    hints_of,
    payloads_of,
    progress_of,
    progress_payloads_of,
)

#: PostgreSQL takes payloads shorter than this.
POSTGRES_BYTES = 8000

NEWS = st.dictionaries(st.integers(0, 2**128 - 1), st.integers(1, 2**32 - 1), max_size=400)


@given(NEWS)
def test_every_hint_is_in_exactly_one_payload_that_postgresql_takes(news: dict[int, int]) -> None:
    payloads = list(payloads_of(news))
    found = [hint for payload in payloads for hint in hints_of(payload)]
    assert found == [(UUID(int=number), last_seq) for number, last_seq in news.items()]
    assert all(0 < len(payload) < POSTGRES_BYTES for payload in payloads)
    assert not any(payload.startswith((NONCE, PROGRESS, RELEASED)) for payload in payloads)


def test_payloads_are_filled() -> None:
    news = dict.fromkeys(range(1000), 2**32 - 1)
    payloads = list(payloads_of(news))
    assert len(payloads) == 6
    assert all(PAYLOAD_BYTES - 44 < len(payload) <= PAYLOAD_BYTES for payload in payloads[:-1])


@given(st.text())
def test_any_payload_can_be_read(payload: str) -> None:
    for thread_id, last_seq in hints_of(payload):
        assert isinstance(thread_id, UUID)
        assert isinstance(last_seq, int)
    for thread_id, text in progress_of(payload):
        assert isinstance(thread_id, UUID)
        assert isinstance(text, str)


TEXTS = st.text(max_size=2 * PROGRESS_CHARS) | st.just("\U0001f600" * 2 * PROGRESS_CHARS)


@given(st.dictionaries(st.uuids(), TEXTS, max_size=40))
def test_every_progress_text_is_in_exactly_one_payload_and_is_no_hint(texts: dict[UUID, str]) -> None:
    payloads = list(progress_payloads_of(texts))
    found = [entry for payload in payloads for entry in progress_of(payload)]
    assert found == [(thread_id, text[:PROGRESS_CHARS]) for thread_id, text in texts.items()]
    assert all(len(payload.encode()) < POSTGRES_BYTES for payload in payloads)
    # A replica of an earlier version takes it for hints.
    assert not [hint for payload in payloads for hint in hints_of(payload) if hint[0] not in texts]


def test_malformed_progress_is_ignored() -> None:
    good = f'["{UUID(int=1).hex}","half way"]'
    for payload in ("~", "~{}", "~[1]", "~[[]]", '~[["x","y"]]', "~" + "[" * 5000, '~[["a",1]]', "~null"):
        assert list(progress_of(payload)) == []
    assert list(progress_of(f"~[3,{good},[]]")) == [(UUID(int=1), "half way")]
