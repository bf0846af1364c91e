"""Metrics in Prometheus' format. Names start with `ide_orchestrator_`.

What stands somewhere already is read from there when it is asked for; what happens is counted, cheaply and
never for each event or follower. Labels come from closed sets and every series is there from the start, so
their number is fixed; but for thread ids, which are a setting (IDEO_METRICS_THREADS), as the seed has them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import product
from uuid import UUID

import prometheus_client
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from server.domain.journal.events import DiscontinuityReason, FrameReason, Outcome
from server.domain.runs.lease import Lease
from server.domain.runs.observer import RunObserver
from server.domain.streams.observer import FORMS, TRANSPORTS

PREFIX = "ide_orchestrator_"

#: What each gauge says.
GAUGES = {
    "accepting": "1 while this replica takes new refinements, 0 once it drains",
    "runs_live": "Runs that this replica drives",
    "followers": "Readers of streams on this replica, over all transports",
    "followed_threads": "Threads that have readers on this replica",
    "window_bytes": "Memory of the windows of newest events, all followed threads together",
    "window_limit_bytes": "Limit of one followed thread's window (IDEO_MAX_WINDOW_MIB)",
    "journal_queued_bytes": "Events received and not committed yet, all runs together",
    "journal_queue_limit_bytes": "Limit of one run's queue; beyond it, its stream waits (IDEO_MAX_QUEUE_MIB)",
    "breaker_open": "Breaker of the calls to the runtime: 0 closed, 0.5 half open, 1 open",
    "wakeups_healthy": "1 while wake-ups from other replicas arrive, 0 while only the poll finds news",
    "database_connections": "Connections to PostgreSQL",
    "database_connections_idle": "Connections to PostgreSQL that nobody uses",
    "database_connections_limit": "Most connections to PostgreSQL (IDEO_DATABASE_MAX_CONNECTIONS)",
}

#: Statuses of the runtime's answers that are told apart; `none`: there was no answer.
STATUSES = ("101", "200", "404", "422", "429", "500", "502", "503", "504", "other", "none")
#: The runtime's endpoints.
ENDPOINTS = ("invoke", "state", "stream")

#: What is counted, with the values of its labels.
COUNTERS: dict[str, tuple[str, dict[str, tuple[str, ...]]]] = {
    "deepagents_runtime_requests_total": (
        "Requests to the runtime, by its answer's status; `none` without an answer",
        {"endpoint": ENDPOINTS, "status": STATUSES},
    ),
    "runtime_streams_lost_total": ("Connections to the runtime's stream that broke before the end", {}),
    "takeovers_total": ("Runs that this replica took over", {}),
    "discontinuities_total": (
        "Places where frames of the runtime may be missing",
        {"reason": tuple(reason.name.lower() for reason in DiscontinuityReason)},
    ),
    "frames_uninterpreted_total": (
        "Frames of the runtime that were kept as they came, uninterpreted",
        {"reason": tuple(reason.name.lower() for reason in FrameReason)},
    ),
    "journals_removed_total": ("Journals of ended runs that were removed after their time", {}),
    "run_faults_total": ("Runs that a fault of the hub ended", {}),
    "slow_readers_closed_total": (
        "Readers that took too little for too long and were closed",
        {"transport": TRANSPORTS},
    ),
}

_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
#: What is measured in seconds, with the values of its labels and the upper bounds of its buckets.
HISTOGRAMS: dict[str, tuple[str, dict[str, tuple[str, ...]], tuple[float, ...]]] = {
    "refinement_duration_seconds": (
        "From a refinement's start to its terminal status",
        {"status": tuple(outcome.value for outcome in Outcome)},
        (1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600),
    ),
    "journal_commit_seconds": ("Time of a commit to the journal", {}, _SHORT),
    "ingest_lag_seconds": ("From a frame's arrival to the commit of its events", {}, _SHORT),
}

#: A gauge whose labels depend on a setting.
SOCKETS = ("websocket_connections", "Open WebSockets, by the form of their messages")


class Metrics(RunObserver):
    """What happened on this replica since it started."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._counters: dict[str, prometheus_client.Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        for name, (text, labels) in COUNTERS.items():
            counter = prometheus_client.Counter(PREFIX + name, text, labels.keys(), registry=self.registry)
            self._counters[name] = counter
            for values in product(*labels.values()) if labels else ():
                counter.labels(*values)
        for name, (text, labels, buckets) in HISTOGRAMS.items():
            histogram = Histogram(PREFIX + name, text, labels.keys(), registry=self.registry, buckets=buckets)
            self._histograms[name] = histogram
            for values in product(*labels.values()) if labels else ():
                histogram.labels(*values)
        #: Open WebSockets by form and thread.
        self.sockets: Counter[tuple[str, str]] = Counter()

    # --- Runs ------------------------------------------------------------------------------------

    def finished(self, lease: Lease, outcome: Outcome, reason: str, seconds: float) -> None:
        """A run reached its terminal status."""
        self._histograms["refinement_duration_seconds"].labels(outcome.value).observe(seconds)

    def lost_upstream(self, lease: Lease, why: str) -> None:
        """The connection to the runtime broke."""
        self._counters["runtime_streams_lost_total"].inc()

    def taken(self, lease: Lease) -> None:
        """A run was taken over."""
        self._counters["takeovers_total"].inc()

    def faulted(self, lease: Lease, fault: BaseException) -> None:
        """A fault of the hub ended the run."""
        self._counters["run_faults_total"].inc()

    def discontinued(self, lease: Lease, reason: DiscontinuityReason) -> None:
        """Frames may be missing here."""
        self._counters["discontinuities_total"].labels(reason.name.lower()).inc()

    def uninterpreted(self, lease: Lease, reason: FrameReason) -> None:
        """A frame was kept as it came."""
        self._counters["frames_uninterpreted_total"].labels(reason.name.lower()).inc()

    # --- The runtime, the journal, the readers ---------------------------------------------------

    def answered(self, endpoint: str, status: int | None) -> None:
        """The runtime answered a request, or did not."""
        told = "none" if status is None else str(status) if str(status) in STATUSES else "other"
        self._counters["deepagents_runtime_requests_total"].labels(endpoint, told).inc()

    def committed(self, seconds: float, lag_s: float) -> None:
        """A batch of events was committed, `lag_s` after the first of them came."""
        self._histograms["journal_commit_seconds"].observe(seconds)
        self._histograms["ingest_lag_seconds"].observe(lag_s)

    def removed(self, count: int) -> None:
        """Journals were removed after their time."""
        self._counters["journals_removed_total"].inc(count)

    def opened(self, form: str, thread_id: UUID) -> None:
        """A WebSocket was opened."""
        self.sockets[form, str(thread_id)] += 1

    def closed(self, form: str, thread_id: UUID) -> None:
        """It is closed."""
        key = form, str(thread_id)
        self.sockets[key] -= 1
        if not self.sockets[key]:
            del self.sockets[key]

    def stuck(self, transport: str) -> None:
        """A reader took too little for too long."""
        self._counters["slow_readers_closed_total"].labels(transport).inc()


class HubMetrics(Collector):
    """The metrics of one hub. `readings`: for each name in GAUGES, what reads it now. `threads`: label open
    WebSockets with their threads, too."""

    def __init__(
        self, readings: Mapping[str, Callable[[], float]], counts: Metrics, *, threads: bool = False
    ) -> None:
        if readings.keys() != GAUGES.keys():
            raise ValueError(f"readings and gauges differ: {sorted(readings.keys() ^ GAUGES.keys())}")
        self._readings, self._counts, self._threads = readings, counts, threads
        counts.registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Read every gauge."""
        for name, text in GAUGES.items():
            yield GaugeMetricFamily(PREFIX + name, text, value=float(self._readings[name]()))
        name, text = SOCKETS
        labels = ["form", "thread_id"] if self._threads else ["form"]
        family = GaugeMetricFamily(PREFIX + name, text, labels=labels)
        open_sockets = dict(self._counts.sockets)
        if self._threads:
            for (form, thread), count in open_sockets.items():
                family.add_metric([form, thread], count)
        else:
            for form in FORMS:
                family.add_metric([form], sum(n for (each, _), n in open_sockets.items() if each == form))
        yield family

    def exposition(self) -> tuple[bytes, str]:
        """The text that a scrape gets, and its media type."""
        return generate_latest(self._counts.registry), CONTENT_TYPE_LATEST
