"""Traces, with OpenTelemetry (ADR 0022).

OpenTelemetry's own settings (OTEL_EXPORTER_OTLP_ENDPOINT …) say where they are sent. Without an address there
are no traces, and no cost.

One refinement is one trace on all replicas. Its spans are the request that starts it, the ingest under each
lease with its call of the runtime, and each delivery to a reader, which is linked to the reader's request.
The trace's context is stored with the run. There is no span per event. Spans have ids and no prompt, file,
token or query.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any
from uuid import UUID

import requests
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from server.domain.journal.events import Outcome
from server.domain.runs.lease import Lease
from server.domain.runs.observer import RunObserver

#: The service's name unless OTEL_SERVICE_NAME is set.
SERVICE = "ide-orchestrator"
#: Seconds in which a hub that stops sends the spans that are left.
FLUSH_S = 3.0
_W3C = TraceContextTextMapPropagator()
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SPAN_PATH, _MAX_SPAN_PATH = re.compile(r"[a-z/{}.]*"), 80
#: Attributes of the library's spans that may contain a query, and those that are one.
_URL_ATTRIBUTES = ("url.full", "http.url", "http.target", "url.path")
_QUERY_ATTRIBUTES = ("url.query",)
_tracer = trace.get_tracer("ide_orchestrator")


class _Session(requests.Session):
    """The connections to the collector. Of an answer only the head is read: the rest may have no end."""

    def request(self, *args: Any, **options: Any) -> requests.Response:
        response = super().request(*args, **{**options, "stream": True})
        response.close()
        return response


@contextmanager
def tracing(*, replica: str) -> Iterator[None]:
    """Make and send spans until the block ends, and then send the rest, as far as FLUSH_S allows."""
    resource = Resource.create({"service.instance.id": replica, SERVICE_VERSION: version("ide-orchestrator")})
    if resource.attributes.get(SERVICE_NAME, "").startswith("unknown_service"):  # type: ignore[union-attr]
        resource = resource.merge(Resource({SERVICE_NAME: SERVICE}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(session=_Session())))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        # A collector that does not answer would be waited for ten times as long.
        ending = threading.Thread(target=provider.shutdown, name="last spans", daemon=True)
        ending.start()
        ending.join(FLUSH_S)


def traced_asgi(app: Any) -> Any:
    """The ASGI app with a span for each request and WebSocket, except probes and scrapes."""
    return OpenTelemetryMiddleware(
        app,
        exclude_spans=["send", "receive"],
        excluded_urls="healthz,readyz,metrics",
        default_span_details=lambda scope: (_span_name(scope), {}),
        server_request_hook=_without_query,
    )


def _span_name(scope: Any) -> str:
    """The method and the path without ids. Unknown paths share one name, so that there are few names."""
    path = _ID.sub("{id}", scope["path"])
    known = len(path) <= _MAX_SPAN_PATH and _SPAN_PATH.fullmatch(path)
    return f"{scope.get('method', 'GET')} {path if known else 'elsewhere'}"


def _without_query(span: trace.Span, scope: Any) -> None:
    """Remove the query from the library's attributes: it may contain a token."""
    attributes: Any = getattr(span, "attributes", None) or {}
    for name in _URL_ATTRIBUTES:
        if name in attributes:
            span.set_attribute(name, str(attributes[name]).partition("?")[0])
    for name in _QUERY_ATTRIBUTES:
        if name in attributes:
            span.set_attribute(name, "[redacted]")


def traceparent() -> str:
    """The context of the current span (W3C `traceparent`); empty when there is none."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return carrier.get("traceparent", "")


def _context_of(parent: str) -> otel_context.Context:
    return _W3C.extract({"traceparent": parent} if parent else {}, context=otel_context.Context())


class RunTraces(RunObserver):
    """Makes the spans of runs and of their readers."""

    def traceparent(self) -> str:
        """The context for a run that starts now."""
        return traceparent()

    @contextmanager
    def driving(self, lease: Lease) -> Iterator[None]:
        """The ingest of a run under one lease."""
        with _tracer.start_as_current_span(
            "refinement.ingest",
            context=_context_of(lease.invocation.traceparent),
            attributes={
                "thread_id": str(lease.thread_id),
                "proposal_id": str(lease.proposal_id),
                "lease.fence": lease.fence,
                "lease.takeovers": lease.takeovers,
            },
            record_exception=False,
            set_status_on_exception=False,
        ):
            yield

    def finished(self, lease: Lease, outcome: Outcome, reason: str, seconds: float) -> None:
        """A run reached its terminal status: an attribute of the ingest's span."""
        span = trace.get_current_span()
        span.set_attribute("refinement.outcome", outcome.value)
        if reason:
            span.set_attribute("refinement.reason", reason)
            span.set_status(trace.StatusCode.ERROR, reason)

    def following(self, thread_id: UUID, parent: str) -> Callable[[], None]:
        """A reader subscribes. Returns the function that ends the delivery's span."""
        request = trace.get_current_span().get_span_context()
        span = _tracer.start_span(
            "refinement.deliver",
            context=_context_of(parent),
            links=[trace.Link(request)] if request.is_valid else [],
            attributes={"thread_id": str(thread_id)},
        )
        return span.end
