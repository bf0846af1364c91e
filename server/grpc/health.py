"""Health (grpc.health.v1): one answer for the whole server and each of its services.

The servicer is our own: with grpc's, one watcher that reads nothing stops the reports to all others, and the
hub's own report.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.domain.clock import Clock
from server.domain.errors import ClientTooSlow, InvalidArgument
from server.domain.readiness import Readiness
from server.grpc.authentication import Context
from server.grpc.call_ends import waiting
from server.grpc.writing import MessageWriter

#: Seconds between two runs of the checks, and the number of failures in a row that make the status
#: NOT_SERVING: enough that a restart of the database does not.
CHECK_INTERVAL_S, MAX_FAILURES = 5.0, 6
#: Longest name of a service in characters. It stays in memory as long as it is watched.
MAX_NAME_CHARS = 256


class _Servicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # the library has no types
    """The service. `names`: the services that have a status."""

    def __init__(self, names: frozenset[str], writer: MessageWriter) -> None:
        self._names, self._writer = names, writer
        self._status: int = health_pb2.HealthCheckResponse.SERVING
        self._changed = asyncio.Event()

    def set(self, status: int) -> None:
        """Report a status from now on."""
        self._status = status
        self._changed.set()
        self._changed = asyncio.Event()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        """Contract: grpc.health.v1."""
        if request.service not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND)
        return health_pb2.HealthCheckResponse(status=self._status)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:
        """Contract: grpc.health.v1. Writes serialised messages itself."""
        if len(request.service) > MAX_NAME_CHARS:
            raise InvalidArgument({"service": f"must have at most {MAX_NAME_CHARS} characters"})
        known = request.service in self._names
        sent: int | None = None
        while True:
            changed = self._changed
            status = self._status if known else health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            if status != sent:
                try:
                    response = health_pb2.HealthCheckResponse(status=status)
                    await self._writer.write(context, response.SerializeToString())
                except ClientTooSlow as slow:
                    await self._writer.abort(context, slow)
                sent = status
            with waiting():
                await changed.wait()


class Health:
    """Reports whether this replica accepts calls."""

    def __init__(self, services: tuple[str, ...], writer: MessageWriter) -> None:
        #: The empty name stands for the server as a whole.
        self._servicer = _Servicer(frozenset(("", *services)), writer)

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register the service."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def follow(
        self, ready: Callable[[], Awaitable[Readiness]], clock: Clock, *, max_failures: int = MAX_FAILURES
    ) -> None:
        """Report the checks of `/readyz` until cancelled: NOT_SERVING after `max_failures` in a row, like the
        readiness probe, and SERVING as soon as they pass."""
        failed = 0
        while True:
            await clock.sleep(CHECK_INTERVAL_S)
            failed = failed + 1 if (await ready()).failing else 0
            if failed == 0:
                self.serving()
            elif failed >= max_failures:
                self.not_serving()

    def serving(self) -> None:
        """Report SERVING from now on."""
        self._servicer.set(health_pb2.HealthCheckResponse.SERVING)

    def not_serving(self) -> None:
        """Report NOT_SERVING from now on, so that clients and load balancers go elsewhere."""
        self._servicer.set(health_pb2.HealthCheckResponse.NOT_SERVING)
