"""Health (grpc.health.v1): one answer for the whole server and each of its services."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from server.domain.clock import Clock

#: Seconds between two runs of the checks, and the number of failures in a row that make the status
#: NOT_SERVING: enough that a restart of the database does not.
CHECK_INTERVAL_S, MAX_FAILURES = 5.0, 6


class Health:
    """Reports whether this replica accepts calls."""

    def __init__(self, services: tuple[str, ...]) -> None:
        #: The empty name stands for the server as a whole.
        self._names = ("", *services)
        self._servicer = health_aio.HealthServicer()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register the service."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def follow(
        self, ready: Callable[[], Awaitable[list[str]]], clock: Clock, *, max_failures: int = MAX_FAILURES
    ) -> None:
        """Report the checks of `/readyz` until cancelled: NOT_SERVING after `max_failures` in a row, like the
        readiness probe, and SERVING as soon as they pass."""
        failed = 0
        while True:
            await clock.sleep(CHECK_INTERVAL_S)
            failed = failed + 1 if await ready() else 0
            if failed == 0:
                await self.serving()
            elif failed >= max_failures:
                await self.not_serving()

    async def serving(self) -> None:
        """Report SERVING from now on."""
        await self._set(health_pb2.HealthCheckResponse.SERVING)

    async def not_serving(self) -> None:
        """Report NOT_SERVING from now on, so that clients and load balancers go elsewhere."""
        await self._set(health_pb2.HealthCheckResponse.NOT_SERVING)

    async def _set(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for name in self._names:
            await self._servicer.set(name, status)
