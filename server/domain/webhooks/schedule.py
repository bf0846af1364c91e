"""When deliveries are tried again, and when that ends."""

from __future__ import annotations

from datetime import timedelta

#: How long a delivery is tried: longer than a weekend on which nobody works.
GIVE_UP_AFTER = timedelta(days=3)
#: How long a webhook's calls may all fail before it is disabled.
DISABLE_AFTER = timedelta(days=3)
#: How long deliveries are listed.
KEEP_FOR = timedelta(days=30)

#: The first and the longest pause between two attempts of a delivery, in seconds.
FIRST_PAUSE_S, MAX_PAUSE_S = 5.0, 4 * 3600.0
#: The first and the longest time for which a webhook rests after a failed attempt, in seconds. Shorter than a
#: delivery's pauses: a receiver that answers again is noticed soon, and gets what is waiting for it.
FIRST_REST_S, MAX_REST_S = 1.0, 300.0


def pause_s(age_s: float, jitter: float) -> float | None:
    """Seconds until the next attempt of a delivery that has been tried for `age_s`: as long again, so pauses
    double. None when its time is over. jitter: from 0 to 1, lengthens it by a tenth at most."""
    pause = min(max(age_s, FIRST_PAUSE_S), MAX_PAUSE_S) * (1 + jitter / 10)
    return pause if age_s + pause < GIVE_UP_AFTER.total_seconds() else None


def rest_s(failures: int, jitter: float) -> float:
    """Seconds for which a webhook is not called, after so many attempts that failed in a row, at least
    one."""
    doubled = FIRST_REST_S * 2.0 ** min(failures - 1, 16)
    return min(doubled, MAX_REST_S) * (1 + jitter / 10)
