"""Metrics in Prometheus' format. Names start with `ide_orchestrator_`.

`Metrics` counts what happens, but nothing per event and reader. `MetricsExporter` adds the gauges,
which are read at each scrape. Label values come from closed sets and every series exists from the start, so
their number is constant, unless IDEO_METRICS_THREADS adds thread ids.
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

from server.domain.access import cut_offs
from server.domain.access.refusals import PRESENTED, REASONS
from server.domain.journal.events import DiscontinuityReason, FrameReason, Outcome
from server.domain.runs.lease import Lease
from server.domain.runs.observer import RunObserver
from server.domain.streams.observer import FORMS, TRANSPORTS
from server.domain.webhooks.delivery import ATTEMPT_FAILURES, DeliveryObserver
from server.domain.webhooks.store import Claim
from server.observability.seconds_histogram import SecondsHistogram

PREFIX = "ide_orchestrator_"

#: The help text of each gauge.
GAUGES = {
    "accepting": "1 while this replica accepts new refinements, 0 while it drains",
    "runs_live": "Active runs of this replica",
    "followers": "Open streams of this replica, on all transports",
    "followed_threads": "Threads with open streams on this replica",
    "window_bytes": "Memory that readers share: events of followed threads, and the forms they are sent in",
    "window_limit_bytes": "Limit of the memory that readers share (IDEO_MAX_TOTAL_WINDOW_MIB)",
    "journal_queued_bytes": "Memory of the events of all runs that are not yet committed",
    "journal_queue_limit_bytes": "Its limit; beyond it the runtime's streams wait (IDEO_MAX_TOTAL_QUEUE_MIB)",
    "breaker_open": "Circuit breaker of calls to the runtime: 0 closed, 0.5 half open, 1 open",
    "wakeups_healthy": "1 while wake-ups from other replicas arrive, 0 while the hub only polls",
    "quarantined_frames": "Frames of the runtime that no replica understood, and that were not released",
    "quarantined_shapes": "Shapes of these frames",
    "database_connections": "Connections to PostgreSQL",
    "database_connections_idle": "Idle connections to PostgreSQL",
    "database_connections_limit": "Maximum of connections in the pool (IDEO_DATABASE_MAX_CONNECTIONS)",
}

#: HTTP statuses of the runtime that have separate series; `none` means no answer.
STATUSES = ("101", "200", "404", "422", "429", "500", "502", "503", "504", "other", "none")
#: The runtime's endpoints.
ENDPOINTS = ("invoke", "state", "stream", "resume", "cancel")

#: The help text of each counter, and the values of its labels.
COUNTERS: dict[str, tuple[str, dict[str, tuple[str, ...]]]] = {
    "deepagents_runtime_requests_total": (
        "Requests to the runtime by HTTP status; `none` means no answer",
        {"endpoint": ENDPOINTS, "status": STATUSES},
    ),
    "runtime_streams_lost_total": (
        "Connections to the runtime's stream that were lost before the run's end",
        {},
    ),
    "takeovers_total": ("Runs that this replica took over from another one", {}),
    "discontinuities_total": (
        "Places where frames of the runtime may be missing",
        {"reason": tuple(reason.name.lower() for reason in DiscontinuityReason)},
    ),
    "frames_uninterpreted_total": (
        "Frames of the runtime that are delivered uninterpreted",
        {"reason": tuple(reason.name.lower() for reason in FrameReason)},
    ),
    "journals_removed_total": ("Journals of ended runs that were removed at the end of their retention", {}),
    "run_faults_total": ("Errors in the hub while it drove a run, which most of them ended", {}),
    "authentications_refused_total": (
        "Callers that were not authenticated, by what they presented, and why",
        {"presented": PRESENTED, "reason": REASONS},
    ),
    "clients_cut_off_total": (
        "Requests and connections that were ended for what the client sent, or did not send",
        {"reason": cut_offs.REASONS},
    ),
    "slow_readers_closed_total": (
        "Streams and answers that were ended because their client read too slowly or answered no ping",
        {"transport": TRANSPORTS},
    ),
    "webhook_attempts_total": (
        "Calls of webhooks by result: `delivered`, or why they failed",
        {"result": ("delivered", *ATTEMPT_FAILURES)},
    ),
    "webhook_deliveries_given_up_total": ("Deliveries of webhooks that are no longer tried", {}),
    "webhooks_disabled_total": ("Webhooks that were disabled because their receiver failed or is gone", {}),
}

_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
#: The help text of each histogram (of seconds), the values of its labels, the upper bounds of its buckets.
HISTOGRAMS: dict[str, tuple[str, dict[str, tuple[str, ...]], tuple[float, ...]]] = {
    "refinement_duration_seconds": (
        "Time from a refinement's start to its terminal status",
        {"status": tuple(outcome.value for outcome in Outcome)},
        (1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600),
    ),
    "journal_commit_seconds": ("Duration of a commit to the journal", {}, _SHORT),
    "ingest_lag_seconds": ("Time from a frame's arrival to the commit of its events", {}, _SHORT),
    "webhook_lag_seconds": (
        "Time from an event to its delivery by a webhook",
        {},
        (0.1, 0.5, 1, 2, 5, 15, 60, 300, 3600, 14400, 86400),
    ),
    "event_loop_delay_seconds": (
        "Lateness of a timer that is due 20 times a second: for how long something blocked the event loop",
        {},
        (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0),
    ),
}

#: Commits that are counted together: one alone would run through this code with none of it in the caches.
_COMMITS_TOGETHER = 64

#: A gauge with labels, and its help text.
SOCKETS = (
    "websocket_connections",
    f"Open WebSockets by `form` of their messages: {', '.join(FORMS)}. IDEO_METRICS_THREADS adds `thread_id`",
)
#: A gauge that only processes which share their ports have (`server.observability.sibling_metrics`).
PROCESS_UP = ("process_up", "1 while this process of `ideo serve --processes` answers the others, else 0")


class Metrics(RunObserver, DeliveryObserver):
    """Counts what happens on this replica."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._counters: dict[str, prometheus_client.Counter] = {}
        self._histograms: dict[str, SecondsHistogram] = {}
        self._labelled_histograms: dict[str, Histogram] = {}
        for name, (text, labels) in COUNTERS.items():
            counter = prometheus_client.Counter(PREFIX + name, text, labels.keys(), registry=self.registry)
            self._counters[name] = counter
            for values in product(*labels.values()) if labels else ():
                counter.labels(*values)
        for name, (text, labels, buckets) in HISTOGRAMS.items():
            if not labels:
                self._histograms[name] = SecondsHistogram(PREFIX + name, text, buckets)
                self.registry.register(self._histograms[name])
                continue
            histogram = Histogram(PREFIX + name, text, labels.keys(), registry=self.registry, buckets=buckets)
            self._labelled_histograms[name] = histogram
            for values in product(*labels.values()):
                histogram.labels(*values)
        #: Open WebSockets by form and thread.
        self.sockets: Counter[tuple[str, str]] = Counter()
        #: Duration and lag of the last commits, in seconds.
        self._commits: list[tuple[float, float]] = []

    # --- Runs ------------------------------------------------------------------------------------

    def finished(self, lease: Lease, outcome: Outcome, reason: str, seconds: float) -> None:
        """A run reached its terminal status."""
        self._labelled_histograms["refinement_duration_seconds"].labels(outcome.value).observe(seconds)

    def lost_upstream(self, lease: Lease, why: str) -> None:
        """The connection to the runtime was lost."""
        self._counters["runtime_streams_lost_total"].inc()

    def taken_over(self, lease: Lease) -> None:
        """This replica took a run over."""
        self._counters["takeovers_total"].inc()

    def faulted(self, lease: Lease, fault: BaseException) -> None:
        """An error in the hub ended the run."""
        self._counters["run_faults_total"].inc()

    def discontinued(self, lease: Lease, reason: DiscontinuityReason) -> None:
        """Frames of the runtime may be missing."""
        self._counters["discontinuities_total"].labels(reason.name.lower()).inc()

    def uninterpreted(self, lease: Lease, reason: FrameReason) -> None:
        """A frame is delivered uninterpreted."""
        self._counters["frames_uninterpreted_total"].labels(reason.name.lower()).inc()

    # --- The runtime, the journal, the readers ---------------------------------------------------

    def answered(self, endpoint: str, status: int | None) -> None:
        """The runtime answered a request with a status, None for no answer."""
        label = "none" if status is None else str(status) if str(status) in STATUSES else "other"
        self._counters["deepagents_runtime_requests_total"].labels(endpoint, label).inc()

    def committed(self, seconds: float, lag_s: float) -> None:
        """A batch of events was committed in `seconds`, `lag_s` after the first of them arrived."""
        self._commits.append((seconds, lag_s))
        if len(self._commits) >= _COMMITS_TOGETHER:
            self.count_commits()

    def count_commits(self) -> None:
        """Count the last commits, which are counted some at a time."""
        if not self._commits:
            return
        seconds, lags = zip(*self._commits, strict=True)
        self._commits.clear()
        self._histograms["journal_commit_seconds"].observe(*seconds)
        self._histograms["ingest_lag_seconds"].observe(*lags)

    def loop_ticked(self, late_s: float) -> None:
        """A timer of the event loop was late."""
        self._histograms["event_loop_delay_seconds"].observe(late_s)

    def removed(self, count: int) -> None:
        """Journals were removed at the end of their retention."""
        self._counters["journals_removed_total"].inc(count)

    def opened(self, form: str, thread_id: UUID) -> None:
        """A WebSocket was opened."""
        self.sockets[form, str(thread_id)] += 1

    def closed(self, form: str, thread_id: UUID) -> None:
        """A WebSocket was closed."""
        key = form, str(thread_id)
        self.sockets[key] -= 1
        if not self.sockets[key]:
            del self.sockets[key]

    # --- Webhooks --------------------------------------------------------------------------------

    def attempted(self, claim: Claim, failure: str, http_status: int, lag_s: float) -> None:
        """A webhook was called."""
        self._counters["webhook_attempts_total"].labels(failure or "delivered").inc()
        if not failure:
            self._histograms["webhook_lag_seconds"].observe(lag_s)

    def gave_up(self, count: int) -> None:
        """Deliveries will not be tried any more."""
        self._counters["webhook_deliveries_given_up_total"].inc(count)

    def disabled(self, claim: Claim) -> None:
        """A webhook was disabled."""
        self._counters["webhooks_disabled_total"].inc()

    # --- Callers ---------------------------------------------------------------------------------

    def on_refused(self, presented: str, reason: str) -> None:
        """A caller was not authenticated."""
        self._counters["authentications_refused_total"].labels(presented, reason).inc()

    def on_cut_off(self, reason: str) -> None:
        """A client was cut off for what it sent, or did not send."""
        self._counters["clients_cut_off_total"].labels(reason).inc()

    def on_slow_reader(self, transport: str) -> None:
        """A stream was closed because its client read too slowly or answered no ping."""
        self._counters["slow_readers_closed_total"].labels(transport).inc()


class MetricsExporter(Collector):
    """Exports the metrics of one hub.

    gauges: for each name in GAUGES, the function that reads it. thread_labels: label open WebSockets with
    their threads too.
    """

    def __init__(
        self, gauges: Mapping[str, Callable[[], float]], metrics: Metrics, *, thread_labels: bool = False
    ) -> None:
        if gauges.keys() != GAUGES.keys():
            raise ValueError(f"gauges differ from GAUGES: {sorted(gauges.keys() ^ GAUGES.keys())}")
        self._gauges, self._metrics, self._thread_labels = gauges, metrics, thread_labels
        metrics.registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Read every gauge."""
        for name, text in GAUGES.items():
            yield GaugeMetricFamily(PREFIX + name, text, value=float(self._gauges[name]()))
        yield self._open_sockets()

    def _open_sockets(self) -> GaugeMetricFamily:
        name, text = SOCKETS
        labels = ["form", "thread_id"] if self._thread_labels else ["form"]
        family = GaugeMetricFamily(PREFIX + name, text, labels=labels)
        open_sockets = dict(self._metrics.sockets)
        if self._thread_labels:
            for (form, thread_id), count in open_sockets.items():
                family.add_metric([form, thread_id], count)
            return family
        for form in FORMS:
            family.add_metric([form], sum(count for key, count in open_sockets.items() if key[0] == form))
        return family

    async def exposition(self) -> tuple[bytes, str]:
        """The text of a scrape and its media type."""
        self._metrics.count_commits()
        return generate_latest(self._metrics.registry), CONTENT_TYPE_LATEST
