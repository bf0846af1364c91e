"""An OTLP collector: takes what is exported over HTTP and keeps the spans."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

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


def _attributes(pairs: Any) -> dict[str, Value]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


async def _take(collector: Collector, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(asyncio.IncompleteReadError, OSError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            size = int(head.partition("content-length: ")[2].split("\r\n")[0])
            body = await reader.readexactly(size)
            if "content-encoding: gzip" in head:
                body = gzip.decompress(body)
            request = ExportTraceServiceRequest.FromString(body)
            collector.raw.append(str(request))
            for resource in request.resource_spans:
                where = str(_attributes(resource.resource.attributes)["service.instance.id"])
                for scope in resource.scope_spans:
                    collector.spans += [
                        Span(
                            span.name,
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            _attributes(span.attributes),
                            tuple(link.span_id.hex() for link in span.links),
                            span.status.code == 2,
                            where,
                        )
                        for span in scope.spans
                    ]
            answer = ExportTraceServiceResponse().SerializeToString()
            writer.write(
                f"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n"
                f"Content-Length: {len(answer)}\r\n\r\n".encode()
                + answer
            )
            await writer.drain()
    writer.close()


@asynccontextmanager
async def running_collector() -> AsyncIterator[Collector]:
    """A collector on a free port."""
    collector = Collector("")
    server = await asyncio.start_server(lambda r, w: _take(collector, r, w), "127.0.0.1", 0)
    collector.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield collector
