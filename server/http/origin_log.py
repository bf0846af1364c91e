"""The log of refused origins: a stranger's page, or program, cannot fill it."""

from __future__ import annotations

import time
from collections.abc import Callable

from server.domain.rates import Rate, TokenBucket
from server.http.errors import log

#: Entries at once and in a second.
_RATE = Rate(burst=20, per_s=1)


class OriginLog:
    """Logs that pages may not call, without their origins, which are whatever a caller sends."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._bucket, self._unlogged = now, TokenBucket(_RATE), 0

    def refused(self, *, trace_id: str, dev: bool) -> None:
        """A page was refused. In development a warning: its developer looks for the reason. `more`: those
        since the last entry, which were too many."""
        now = self._now()
        if self._bucket.over_s(now) > 0:
            self._unlogged += 1
            return
        self._bucket.take(1, now)
        more, self._unlogged = self._unlogged, 0
        write = log.warning if dev else log.info
        write("origin_refused", trace_id=trace_id, setting="IDEO_ALLOWED_ORIGINS", more=more)
