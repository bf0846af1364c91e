"""Routes for probes and scrapes, open to all: health, readiness, metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import SkipValidation

from server.domain.readiness import Readiness
from server.http.errors import not_ready
from server.http.openapi_problems import NotReady
from server.wire.problem_details import MEDIA_TYPE

#: The addresses of these routes, as requests have them.
PROBES = frozenset({b"/healthz", b"/api/health", b"/readyz", b"/metrics"})


@dataclass(frozen=True, slots=True)
class Probes:
    """What probes read. metrics: the exposition and its media type."""

    ready: Callable[[], Awaitable[Readiness]]
    metrics: Callable[[], Awaitable[tuple[bytes, str]]]


class Health(msgspec.Struct):
    """The process is alive."""

    status: Literal["ok"]


class Ready(msgspec.Struct):
    """The replica can serve. `degraded` names what it cannot do meanwhile, such as to write:
    `database_read_only`."""

    status: Literal["ok"]
    failing: list[str]
    degraded: list[str]


_Probes = NamedDependency[SkipValidation[Probes]]


@get("/healthz", operation_id="getHealth", tags=["health"], response_description="The process is alive")
async def health() -> Health:
    """Whether the process is alive."""
    return Health("ok")


@get("/api/health", include_in_schema=False)
async def legacy_health() -> Health:
    """The same, at the legacy address."""
    return Health("ok")


@get(
    "/readyz",
    operation_id="getReady",
    tags=["health"],
    response_description="The replica can serve",
    responses={
        503: ResponseSpec(
            NotReady, media_type=MEDIA_TYPE, description="The replica cannot serve", generate_examples=False
        )
    },
)
async def ready(probes: _Probes) -> Ready:
    """Whether this replica can serve; 503 names the checks that fail."""
    found = await probes.ready()
    if found.failing:
        raise not_ready(list(found.failing))
    return Ready("ok", [], list(found.degraded))


@get("/metrics", include_in_schema=False)
async def metrics(probes: _Probes) -> Response[bytes]:
    """The metrics, in Prometheus' text format."""
    exposition, media_type = await probes.metrics()
    # As a `media_type`, Litestar would add a second charset.
    return Response(exposition, headers={"Content-Type": media_type})
