"""Traces, by OpenTelemetry (ADR 0022). Where they go is OpenTelemetry's own standard settings' word
(OTEL_EXPORTER_OTLP_ENDPOINT and the like); without any of them nothing is traced and nothing costs.

One refinement is one trace, whichever replicas it meets: the request that starts it, the ingest under each
lease with the invoke in it, and each delivery to a reader, whose own request is linked. The trace's context
is kept with the run's invocation. There is a span for each of these and none for an event. Spans name things
by id: no prompt, file, token or query is in them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any
from uuid import UUID

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

#: Name of the service unless OTEL_SERVICE_NAME says otherwise.
SERVICE = "ide-orchestrator"
_W3C = TraceContextTextMapPropagator()
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PLAIN, _LONGEST_ADDRESS = re.compile(r"[a-z/{}.]*"), 80
#: Attributes of the library's spans that may hold a query.
_ADDRESSES = ("url.full", "http.url", "http.target", "url.path")
_QUERIES = ("url.query",)
_tracer = trace.get_tracer("ide_orchestrator")


@contextmanager
def tracing(*, replica: str) -> Iterator[None]:
    """Inside the block spans are made and sent; on leaving, what waits is sent."""
    resource = Resource.create({"service.instance.id": replica, SERVICE_VERSION: version("ide-orchestrator")})
    if resource.attributes.get(SERVICE_NAME, "").startswith("unknown_service"):  # type: ignore[union-attr]
        resource = resource.merge(Resource({SERVICE_NAME: SERVICE}))
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.shutdown()


def traced_asgi(app: Any) -> Any:
    """The HTTP face with a span for each request and socket, but for probes."""
    return OpenTelemetryMiddleware(
        app,
        exclude_spans=["send", "receive"],
        excluded_urls="healthz,readyz,metrics",
        default_span_details=lambda scope: (_name_of(scope), {}),
        server_request_hook=_without_query,
    )


def _name_of(scope: Any) -> str:
    """A span's name out of few: the method, and the address without ids."""
    address = _ID.sub("{id}", scope["path"])
    known = len(address) <= _LONGEST_ADDRESS and _PLAIN.fullmatch(address)
    return f"{scope.get('method', 'GET')} {address if known else 'elsewhere'}"


def _without_query(span: trace.Span, scope: Any) -> None:
    """Take the query out of what the library has noted: a token may stand there."""
    attributes: Any = getattr(span, "attributes", None) or {}
    for name in _ADDRESSES:
        if name in attributes:
            span.set_attribute(name, str(attributes[name]).partition("?")[0])
    for name in _QUERIES:
        if name in attributes:
            span.set_attribute(name, "[redacted]")


def traceparent() -> str:
    """The context of the span under way (W3C `traceparent`); empty when nothing is traced."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return carrier.get("traceparent", "")


def _within(parent: str) -> otel_context.Context:
    return _W3C.extract({"traceparent": parent} if parent else {}, context=otel_context.Context())


class RunTraces(RunObserver):
    """The spans of runs."""

    def traceparent(self) -> str:
        """The context that a run that is started now belongs to."""
        return traceparent()

    @contextmanager
    def driving(self, lease: Lease) -> Iterator[None]:
        """The ingest of a run under one lease."""
        with _tracer.start_as_current_span(
            "refinement.ingest",
            context=_within(lease.invocation.traceparent),
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
        """A run reached its terminal status: said by the ingest's span."""
        span = trace.get_current_span()
        span.set_attribute("refinement.outcome", outcome.value)
        if reason:
            span.set_attribute("refinement.reason", reason)
            span.set_status(trace.StatusCode.ERROR, reason)

    def following(self, thread_id: UUID, parent: str) -> Callable[[], None]:
        """A reader begins to follow; what ends the delivery's span."""
        asking = trace.get_current_span().get_span_context()
        span = _tracer.start_span(
            "refinement.deliver",
            context=_within(parent),
            links=[trace.Link(asking)] if asking.is_valid else [],
            attributes={"thread_id": str(thread_id)},
        )
        return span.end
