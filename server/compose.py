"""The composition root: the hub with both interfaces, on the parts that `server.core` opens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator

import structlog

from server import file_descriptors
from server.adapters import grpc_endpoint, tls_files
from server.auth.tokens import TokenVerifier
from server.clock import SystemClock
from server.compiled.choice import compiled_send_to_all, why_not_compiled
from server.connect.app import ConnectApp
from server.core import open_core
from server.db.migrate import status as migration_status
from server.domain.crash_points import arm
from server.file_descriptors import Connections
from server.grpc.app import GrpcLimits, GrpcServer, create_grpc_server
from server.grpc.transport import server_credentials
from server.http.app import create_http_app
from server.http.development_routes import DevelopmentControls
from server.http.multicast import send_to_all
from server.http.options import HttpOptions
from server.http.origins import Origins
from server.http.probes import Probes
from server.http.request_throttle import RequestThrottle
from server.http.server import HubServer, uvicorn_config
from server.lifecycle import (
    DRAIN_S,
    Core,
    Hub,
    drain,
    gauges,
    readiness,
    report_failure,
    stop_task,
)
from server.observability.metrics import MetricsExporter
from server.observability.scrapes import SharedScrapes
from server.observability.sibling_metrics import Place, SiblingMetrics
from server.observability.traces import traced_asgi, tracing
from server.ports import CannotListen, check_ports, http_listener
from server.settings.settings import Settings
from server.start_error import StartError
from server.supervision import supervise

_log = structlog.stdlib.get_logger("server.compose")


class NotMigrated(StartError):
    """The database's schema is not the one that this version needs."""


def check_certificate(settings: Settings) -> None:
    """Raises StartError when gRPC could not serve with the certificate, its key or the clients' authority."""
    tls = tls_files(settings)
    if tls is None:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without the password, a key that needs one is asked for at the terminal.
        context.load_cert_chain(tls.certificate, tls.key, password="")
        if tls.client_ca is not None:
            context.load_verify_locations(tls.client_ca)
    except (OSError, ValueError):
        raise StartError(
            "gRPC cannot use IDEO_GRPC_CERTIFICATE with IDEO_GRPC_KEY, or IDEO_GRPC_CLIENT_CA: they must be "
            "a certificate, the key that it was made for, without a password, and certificates, all PEM"
        ) from None


async def check_schema(dsn: str) -> None:
    """Raises NotMigrated when migrations are missing, DatabaseUnavailable."""
    missing = [migration.id for migration in await migration_status(dsn) if not migration.applied]
    if missing:
        raise NotMigrated(f"{len(missing)} migrations are missing: run `ideo migrate up`")


@contextlib.asynccontextmanager
async def open_hub(
    settings: Settings,
    *,
    dsn: str,
    runtime_url: str,
    verifier: TokenVerifier,
    development: DevelopmentControls | None = None,
    place: Place | None = None,
) -> AsyncIterator[Hub]:
    """The hub, listening. When the block ends it drains: new work is refused, runs are handed over.

    development: what `ideo dev` lets its callers do. place: this process's among those that share the ports,
    which are then its parent's. Raises StartError, before any work has begun.
    """
    if settings.crash_point is not None:
        arm(settings.crash_point)
    if place is None:
        check_ports(settings)
    check_certificate(settings)
    max_connections = _max_connections(settings)
    await check_schema(dsn)
    async with contextlib.AsyncExitStack() as stack:
        if settings.traces:
            try:
                stack.enter_context(tracing(replica=f"{socket.gethostname()}:{os.getpid()}"))
            except (ValueError, TypeError) as error:
                raise StartError(
                    "a setting of OpenTelemetry (OTEL_*) has a value that it cannot use"
                ) from error
        compiled = settings.compiled and not why_not_compiled()
        listener = http_listener(settings, shared=place is not None)
        stack.callback(listener.close)
        core = await stack.enter_async_context(
            open_core(
                settings,
                dsn=dsn,
                runtime_url=runtime_url,
                verifier=verifier,
                compiled=compiled,
                development_controls=development is not None,
            )
        )
        port = listener.getsockname()[1]
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        own_origin = (f"http://{host}:{port}",) if settings.dev else ()
        origins = Origins((*settings.allowed_origins, *own_origin), loopback=settings.dev)
        ready = readiness(core)
        throttle = RequestThrottle(core.cut_offs)
        exposition = _metrics_exporter(core, settings).exposition
        if place is not None:
            siblings = SiblingMetrics(exposition, place)
            await stack.enter_async_context(siblings.serving())
            exposition = siblings.exposition
        app = create_http_app(
            core,
            Probes(ready, SharedScrapes(exposition).exposition),
            HttpOptions(
                origins,
                query_token=settings.query_token,
                dev=settings.dev,
                workbench=settings.workbench,
                development=development,
                send_to_all=compiled_send_to_all(compiled=compiled) or send_to_all,
            ),
            throttle=throttle,
            services=ConnectApp(core, throttle, dev=settings.dev),
        )
        http = HubServer(
            uvicorn_config(
                traced_asgi(app) if settings.traces else app,
                drain_s=DRAIN_S,
                send_deadline_s=settings.send_deadline_s,
                max_connections=max_connections.http,
                on_cut_off=core.metrics.on_cut_off,
            )
        )
        rpc = create_grpc_server(
            core,
            dev=settings.dev,
            traced=settings.traces,
            limits=GrpcLimits(
                max_calls=settings.grpc_max_calls,
                max_connections=max_connections.grpc,
                connection_age_s=settings.grpc_max_connection_age_s,
            ),
            allowed_sans=frozenset(settings.grpc_allowed_sans),
            reuse_port=place is not None,
        )
        grpc_port = _bind(rpc, settings, host)
        core.server_info.grpc = grpc_endpoint(settings, grpc_port)
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        core.background.add_done_callback(lambda task: report_failure(task, failed))
        await rpc.start()
        clock = SystemClock()
        checking = asyncio.create_task(
            supervise("health", lambda: rpc.health.follow(ready, clock), clock), name="health"
        )
        checking.add_done_callback(lambda task: report_failure(task, failed))
        stack.push_async_callback(stop_task, checking)
        serving = asyncio.create_task(http.serve(sockets=[listener]), name="http")
        serving.add_done_callback(lambda task: report_failure(task, failed))
        stack.push_async_callback(drain, core, http, serving, rpc, settings.drain_s)
        await asyncio.wait({serving, asyncio.ensure_future(http.up.wait())}, return_when="FIRST_COMPLETED")
        yield Hub(core, f"http://{host}:{port}", f"{host}:{grpc_port}", failed)


def _max_connections(settings: Settings) -> Connections:
    """Connections of each port: fewer than the settings say if there are not enough file descriptors."""
    fitting = file_descriptors.reserve(settings.max_connections)
    if fitting.http < settings.max_connections:
        _log.warning(
            "too_few_file_descriptors",
            limit=file_descriptors.limit(),
            needed=file_descriptors.needed(settings.max_connections),
            max_connections=fitting.http,
        )
    return fitting


def _metrics_exporter(core: Core, settings: Settings) -> MetricsExporter:
    read_gauges = gauges(
        core,
        window_limit_bytes=settings.max_total_window_mib << 20,
        queue_limit_bytes=settings.max_total_queue_mib << 20,
    )
    return MetricsExporter(read_gauges, core.metrics, thread_labels=settings.metrics_threads)


def _bind(rpc: GrpcServer, settings: Settings, host: str) -> int:
    """Bind the interface to its address. Returns the port. Raises CannotListen."""
    address, tls = f"{host}:{settings.grpc_port}", tls_files(settings)
    try:
        if tls is None:
            return rpc.server.add_insecure_port(address)
        return rpc.server.add_secure_port(address, server_credentials(tls))
    except RuntimeError as error:
        raise CannotListen("IDEO_GRPC_PORT", host, settings.grpc_port, "gRPC could not take it") from error
