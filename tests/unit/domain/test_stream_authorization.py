"""How long a reader may follow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from server.domain.access.stream_authorization import LEEWAY, StreamAuthorization
from server.domain.errors import Unauthenticated
from server.domain.model import Principal
from tests.support.hand_clock import HandClock

#: What some issuers write into tokens that shall not expire.
LAST_SECOND = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def authorization(clock: HandClock, expires_at: datetime) -> StreamAuthorization:
    return StreamAuthorization(
        Principal(uuid4(), "ann", expires_at=expires_at), uuid4(), clock, on_changed=lambda thread_id: None
    )


def test_a_reader_may_follow_until_its_token_has_expired_by_any_clock() -> None:
    clock = HandClock()
    reader = authorization(clock, clock.now() + timedelta(minutes=1))
    clock.move((timedelta(minutes=1) + LEEWAY).total_seconds())
    reader.check()
    clock.move(1)
    with pytest.raises(Unauthenticated):
        reader.check()


@pytest.mark.parametrize("expires_at", [LAST_SECOND, datetime.max.replace(tzinfo=UTC)])
def test_a_token_may_expire_at_the_end_of_the_calendar(expires_at: datetime) -> None:
    clock = HandClock()
    reader = authorization(clock, expires_at)
    reader.check()
    reader.renew(Principal(reader.caller_and_thread[0], "ann", expires_at=expires_at))
    reader.check()
