"""Hints between replicas as the payloads of notifications."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from server.wakeups.postgres import NONCE, PAYLOAD_BYTES, hints_of, payloads_of

#: PostgreSQL takes payloads shorter than this.
POSTGRES_BYTES = 8000

NEWS = st.dictionaries(st.uuids(), st.integers(1, 2**32 - 1), max_size=400)


@given(NEWS)
def test_every_hint_is_in_exactly_one_payload_that_postgresql_takes(news: dict[UUID, int]) -> None:
    payloads = list(payloads_of(news))
    assert [hint for payload in payloads for hint in hints_of(payload)] == list(news.items())
    assert all(0 < len(payload) < POSTGRES_BYTES for payload in payloads)
    assert not any(payload.startswith(NONCE) for payload in payloads)


def test_payloads_are_filled() -> None:
    news = {UUID(int=number): 2**32 - 1 for number in range(1000)}
    payloads = list(payloads_of(news))
    assert len(payloads) == 6
    assert all(PAYLOAD_BYTES - 44 < len(payload) <= PAYLOAD_BYTES for payload in payloads[:-1])


@given(st.text())
def test_any_payload_can_be_read(payload: str) -> None:
    for thread_id, last_seq in hints_of(payload):
        assert isinstance(thread_id, UUID)
        assert isinstance(last_seq, int)
