"""Rates: how much of something one may do at once, and in each second from then on. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """An amount at once, `burst`, which comes back by `per_s`."""

    burst: float
    per_s: float


class TokenBucket:
    """What one may still do of a rate. Times are monotonic, in seconds."""

    __slots__ = ("_at", "_left", "_rate")

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._left, self._at = rate.burst, float("-inf")

    def over_s(self, now: float) -> float:
        """Seconds until what was taken beyond the burst has come back; 0 if nothing was."""
        return max(-self._left_at(now) / self._rate.per_s, 0.0)

    def take(self, amount: float, now: float) -> float:
        """Take the amount, also beyond the burst. Returns `over_s`."""
        self._left, self._at = self._left_at(now) - amount, now
        return self.over_s(now)

    def _left_at(self, now: float) -> float:
        return min(self._rate.burst, self._left + (now - self._at) * self._rate.per_s)


class TokenBuckets:
    """The buckets of many callers, of whom at most `max_keys` are remembered: the one that took something
    longest ago is forgotten first."""

    def __init__(self, max_keys: int) -> None:
        self._max_keys = max_keys
        self._buckets: OrderedDict[Hashable, TokenBucket] = OrderedDict()

    def over_s(self, key: Hashable, now: float) -> float:
        """As `TokenBucket.over_s`."""
        bucket = self._buckets.get(key)
        return 0.0 if bucket is None else bucket.over_s(now)

    def take(self, key: Hashable, rate: Rate, amount: float, now: float) -> float:
        """As `TokenBucket.take`; `rate` is always the same for a key."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(rate)
            if len(self._buckets) > self._max_keys:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        return bucket.take(amount, now)
