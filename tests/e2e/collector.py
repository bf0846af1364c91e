"""An OTLP collector: takes what is exported over HTTP and keeps the spans."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.support.servers import answer, http_server

Value = str | int | float | bool


@dataclass(frozen=True)
class Span:
    """A span as it came. `links`: the span ids that it names; `where`: the exporting instance."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Value]
    links: tuple[str, ...]
    failed: bool
    where: str


@dataclass
class Collector:
    """What came so far, and all of it as text."""

    address: str
    spans: list[Span] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)

    def named(self, name: str) -> list[Span]:
        """The spans of a name."""
        return [span for span in self.spans if span.name == name]

    async def take(self, head: bytes, body: bytes, _: asyncio.StreamWriter) -> bytes:
        """Answer an export."""
        if b"content-encoding: gzip" in head.lower():
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        self.raw.append(str(request))
        for resource in request.resource_spans:
            where = str(_attributes(resource.resource.attributes)["service.instance.id"])
            self.spans += [_span(span, where) for scope in resource.scope_spans for span in scope.spans]
        content = ExportTraceServiceResponse().SerializeToString()
        return answer(200, content, content_type="application/x-protobuf")


def _attributes(pairs: Any) -> dict[str, Value]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def _span(span: Any, where: str) -> Span:
    return Span(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        _attributes(span.attributes),
        tuple(link.span_id.hex() for link in span.links),
        span.status.code == 2,
        where,
    )


@asynccontextmanager
async def running_collector() -> AsyncIterator[Collector]:
    """A collector on a free port."""
    collector = Collector("")
    async with http_server(collector.take) as collector.address:
        yield collector
