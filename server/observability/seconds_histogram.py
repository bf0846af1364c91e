"""A histogram of seconds whose values are counted many at a time.

The library's histogram takes two locks and a call for each bucket's bound, for each value: 3 µs of each
commit.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override


class SecondsHistogram(Collector):
    """A histogram without labels, for the event loop's thread.

    name: with its prefix. text: its help text. bounds: the upper bounds of its buckets, ascending, which
    belong to them.
    """

    def __init__(self, name: str, text: str, bounds: Sequence[float]) -> None:
        self._name, self._text, self._bounds = name, text, bounds
        #: Values in each bucket, and in the last one those above all bounds.
        self._counts = [0] * (len(bounds) + 1)
        self._sum_s = 0.0

    def observe(self, *seconds: float) -> None:
        """Count values."""
        for value in seconds:
            self._counts[bisect_left(self._bounds, value)] += 1
            self._sum_s += value

    @override
    def collect(self) -> Iterable[Metric]:
        names = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        buckets = list(zip(names, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(self._name, self._text, buckets=buckets, sum_value=self._sum_s)
