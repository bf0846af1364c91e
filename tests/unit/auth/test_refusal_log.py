"""How often refused callers are logged."""

from __future__ import annotations

import structlog.testing

from server.auth.refusal_log import QUIET_S, RefusalLog
from server.domain.access.refusals import EXPIRED, TICKET, TOKEN
from server.domain.errors import PermissionDenied, Unauthenticated
from tests.support.hand_clock import HandClock


def test_each_kind_of_refusal_is_logged_once_a_minute_with_the_number_of_the_others() -> None:
    clock = HandClock()
    log = RefusalLog(clock)
    with structlog.testing.capture_logs() as entries:
        for _ in range(1000):
            log.add(Unauthenticated("not valid"), presented=TOKEN)
            log.add(Unauthenticated("too old", reason=EXPIRED), presented=TOKEN)
            log.add(PermissionDenied("no"), presented=TICKET)
        clock.move(QUIET_S)
        for _ in range(1000):
            log.add(Unauthenticated("not valid"), presented=TOKEN)
    logged = [(entry["presented"], entry["reason"], entry["more"]) for entry in entries]
    assert logged == [
        ("token", "invalid", 0),
        ("token", "expired", 0),
        ("ticket", "forbidden", 0),
        ("token", "invalid", 999),
    ]
