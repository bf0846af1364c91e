"""Times at which what many connections do at intervals is done together.

To wake a process costs more than what it then does: a ping that is sent with a hundred others takes a part of
the time of one that is sent alone, and so do their answers.
"""

from __future__ import annotations

#: Times that an interval has.
_TIMES = 80


def shared_time(at: float, interval_s: float) -> float:
    """The time nearest to `at` of those that are shared by all who do something at this interval. Seconds."""
    step_s = interval_s / _TIMES
    return round(at / step_s) * step_s
