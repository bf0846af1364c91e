"""Metrics in Prometheus' format, read from the hub's parts when they are asked for: nothing is counted twice
and no hot path pays. Names start with `ide_orchestrator_`; labels are none, so the number of series is fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

PREFIX = "ide_orchestrator_"

#: What each gauge says.
GAUGES = {
    "accepting": "1 while this replica takes new refinements, 0 once it drains",
    "runs_live": "Runs that this replica drives",
    "followers": "Readers of streams on this replica, over all transports",
    "followed_threads": "Threads that have readers on this replica",
    "window_bytes": "Memory of the windows of newest events, all followed threads together",
    "window_limit_bytes": "Limit of one followed thread's window (IDEO_WINDOW_MIB)",
    "journal_queued_bytes": "Events received and not committed yet, all runs together",
    "journal_queue_limit_bytes": "Limit of one run's queue; beyond it, its stream waits (IDEO_QUEUE_MIB)",
    "breaker_open": "Breaker of the calls to the runtime: 0 closed, 0.5 half open, 1 open",
    "wakeups_healthy": "1 while wake-ups from other replicas arrive, 0 while only the poll finds news",
    "database_connections": "Connections to PostgreSQL",
    "database_connections_limit": "Most connections to PostgreSQL (IDEO_DATABASE_POOL)",
}


class HubMetrics(Collector):
    """The gauges of one hub. `readings`: for each name in GAUGES, what reads it now."""

    def __init__(self, readings: Mapping[str, Callable[[], float]]) -> None:
        if readings.keys() != GAUGES.keys():
            raise ValueError(f"readings and gauges differ: {sorted(readings.keys() ^ GAUGES.keys())}")
        self._readings = readings
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Read every gauge."""
        for name, help_text in GAUGES.items():
            yield GaugeMetricFamily(PREFIX + name, help_text, value=float(self._readings[name]()))

    def exposition(self) -> tuple[bytes, str]:
        """The text that a scrape gets, and its media type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST
