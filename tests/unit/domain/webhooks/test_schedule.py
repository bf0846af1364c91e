"""When deliveries are tried again."""

from __future__ import annotations

from itertools import pairwise

from server.domain.webhooks.schedule import GIVE_UP_AFTER, MAX_PAUSE_S, pause_s, rest_s


def attempts(jitter: float) -> list[float]:
    """The ages at which a delivery is tried whose receiver never answers."""
    ages = [0.0]
    while (pause := pause_s(ages[-1], jitter)) is not None:
        ages.append(ages[-1] + pause)
    return ages


def test_a_delivery_is_tried_soon_and_then_ever_more_rarely_until_its_time_is_over() -> None:
    for jitter in (0.0, 1.0):
        ages = attempts(jitter)
        assert [round(age) for age in ages[:4]] == ([0, 5, 10, 20] if not jitter else [0, 6, 12, 24])
        pauses = [round(after - before, 3) for before, after in pairwise(ages)]
        assert pauses == sorted(pauses)
        assert max(pauses) <= MAX_PAUSE_S * 1.1
        assert 25 < len(ages) < 35
        assert GIVE_UP_AFTER.total_seconds() - 1.2 * MAX_PAUSE_S < ages[-1] < GIVE_UP_AFTER.total_seconds()


def test_a_receiver_that_fails_rests_for_five_minutes_at_most() -> None:
    assert [rest_s(failures, 0.0) for failures in (1, 2, 3, 8, 9, 10, 10_000)] == [
        1,
        2,
        4,
        128,
        256,
        300,
        300,
    ]
    assert rest_s(10_000, 1.0) == 330
