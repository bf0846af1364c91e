"""The composition root: it makes the hub's parts from the settings, opens them in order, and closes them in
reverse. `Core` is the hub without faces; `Hub` has both faces and serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

from server.adapters import quota_limits, run_limits, runtime_of, tls_of, wakeups_of
from server.auth.authenticator import Authenticator
from server.auth.tokens import TokenVerifier
from server.clock import SystemClock
from server.db.access import PostgresAccessStore
from server.db.journal import PostgresJournal
from server.db.migrate import status as migration_status
from server.db.pool import open_pool
from server.db.proposals import PostgresProposalStore
from server.db.quotas import PostgresQuotaStore
from server.db.retention import PostgresRetentionStore
from server.db.runs import PostgresRunStore
from server.db.tickets import PostgresTicketStore
from server.db.users import PostgresUserStore
from server.db.workflows import PostgresWorkflowStore
from server.domain.access.quotas import SYNC_S, Quotas
from server.domain.access.sharing import Sharing
from server.domain.access.stream_authorization import RECHECK_S, AuthorizationRegistry
from server.domain.access.tickets import Tickets
from server.domain.crash_points import arm
from server.domain.journal.retention import SWEEP_S as RETENTION_SWEEP_S
from server.domain.journal.retention import Retention
from server.domain.refinements import Refinements
from server.domain.retry import every
from server.domain.runs.context import RunContext
from server.domain.runs.observer import RunObservers
from server.domain.runs.registry import RunRegistry
from server.domain.runs.runner import Runner
from server.domain.streams.broadcaster import Broadcaster
from server.domain.workflows import WorkflowService
from server.grpc.app import GrpcFace, GrpcLimits, create_grpc_server
from server.grpc.transport import Tls, server_credentials
from server.http.app import create_http_app
from server.http.options import HttpOptions
from server.http.probes import Probes
from server.http.server import HubServer, listening_socket, uvicorn_config
from server.lifecycle import (
    DRAIN_S,
    Core,
    Hub,
    drain,
    gauges,
    readiness,
    report_failure,
    run_together,
    stop_task,
)
from server.observability.logs import RunLog
from server.observability.metrics import Metrics, MetricsExporter
from server.observability.traces import RunTraces, traced_asgi, tracing
from server.runtime.frames import Interpreter
from server.settings import Settings
from server.wire.codec import ProtobufCodec


class NotMigrated(Exception):
    """The database's schema is not the one that this version needs."""


@contextlib.asynccontextmanager
async def open_core(
    settings: Settings, *, dsn: str, runtime_url: str, verifier: TokenVerifier, replica: str | None = None
) -> AsyncIterator[Core]:
    """The hub's parts on a migrated database. `replica` names this process among its peers."""
    clock, codec, counts = SystemClock(), ProtobufCodec(), Metrics()
    owner = replica or f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
    async with contextlib.AsyncExitStack() as stack:
        direct_dsn = settings.database_direct_url.get_secret_value() if settings.database_direct_url else dsn
        pool = await stack.enter_async_context(
            open_pool(
                dsn,
                max_size=settings.database_max_connections,
                # Another way to the same database says that this one leads through a pooler, where a
                # prepared statement may not be there any more.
                statement_cache_size=100 if direct_dsn == dsn else 0,
            )
        )
        await stack.enter_async_context(verifier.running())
        wakeups = wakeups_of(settings, pool, direct_dsn)
        runtime = await stack.enter_async_context(runtime_of(settings, runtime_url, counts))
        traces = (RunTraces(),) if settings.traces else ()
        observer = RunObservers(RunLog(), counts, *traces)
        registry = RunRegistry()
        journal = PostgresJournal(
            pool,
            clock,
            lease_ttl_s=settings.lease_ttl_s,
            max_queued_bytes=settings.max_queue_mib << 20,
            on_commit_time=counts.committed,
        )
        broadcaster = Broadcaster(
            journal,
            clock,
            is_local=registry.owns,
            max_window_bytes=settings.max_window_mib << 20,
            wakeups=wakeups,
        )
        journal.subscribe(broadcaster.on_commit)
        journal.subscribe(wakeups.on_commit)
        runs = PostgresRunStore(pool, owner=owner, lease_ttl_s=settings.lease_ttl_s)
        await stack.enter_async_context(journal.writing())
        context = RunContext(
            runtime=runtime,
            journal=journal,
            runs=runs,
            codec=codec,
            clock=clock,
            on_progress=broadcaster.show_progress,
            interpreter=Interpreter,
            limits=run_limits(settings),
            observer=observer,
        )
        runner = Runner(context, registry)
        stack.push_async_callback(runner.close)
        proposals = PostgresProposalStore(pool, owner=owner, lease_ttl_s=settings.lease_ttl_s)
        workflows = PostgresWorkflowStore(pool)
        access = PostgresAccessStore(pool)
        authorizations = AuthorizationRegistry(access, clock, on_revoked=broadcaster.wake)
        retention = Retention(
            PostgresRetentionStore(pool),
            timedelta(days=settings.journal_retention_days),
            removed=counts.removed,
        )
        quotas = Quotas(PostgresQuotaStore(pool, replica=owner), quota_limits(settings))
        background = asyncio.create_task(
            run_together(
                broadcaster.catch_up_forever(),
                wakeups.run_forever(broadcaster),
                every(broadcaster.poll_interval_s, broadcaster.poll, clock),
                every(settings.heartbeat_s, broadcaster.send_heartbeats, clock),
                every(RECHECK_S, authorizations.recheck, clock),
                every(SYNC_S, quotas.sync, clock, immediately=True),
                every(RETENTION_SWEEP_S, retention.sweep, clock),
                every(lambda: runner.context.limits.renew_s, runner.keep_leases, clock),
                every(lambda: runner.context.limits.sweep_s, runner.sweep, clock, immediately=True),
            )
        )
        stack.push_async_callback(stop_task, background)
        yield Core(
            pool=pool,
            journal=journal,
            broadcaster=broadcaster,
            runner=runner,
            runtime=runtime,
            refinements=Refinements(
                proposals=proposals,
                access=access,
                workflows=workflows,
                runs=runs,
                runner=runner,
                broadcaster=broadcaster,
                authorizations=authorizations,
                quotas=quotas,
                observer=observer,
                codec=codec,
                clock=clock,
            ),
            proposals=proposals,
            workflows=WorkflowService(workflows=workflows, quotas=quotas, clock=clock),
            access=access,
            sharing=Sharing(access),
            authenticator=Authenticator(
                verifier=verifier, users=PostgresUserStore(pool), links=access, clock=clock
            ),
            authorizations=authorizations,
            quotas=quotas,
            tickets=Tickets(store=PostgresTicketStore(pool), proposals=proposals),
            background=background,
            wakeups=wakeups,
            readers=counts,
            metrics=counts,
            retention=retention,
        )


async def check_schema(dsn: str) -> None:
    """Raises NotMigrated when migrations are missing, DatabaseUnavailable."""
    missing = [migration.id for migration in await migration_status(dsn) if not migration.applied]
    if missing:
        raise NotMigrated(f"{len(missing)} migrations are missing: run `ideo migrate up`")


@contextlib.asynccontextmanager
async def open_hub(
    settings: Settings, *, dsn: str, runtime_url: str, verifier: TokenVerifier
) -> AsyncIterator[Hub]:
    """The hub, listening. On leaving it drains: new work is refused, runs are handed over."""
    if settings.crash_point is not None:
        arm(settings.crash_point)
    await check_schema(dsn)
    async with contextlib.AsyncExitStack() as stack:
        if settings.traces:
            stack.enter_context(tracing(replica=f"{socket.gethostname()}:{os.getpid()}"))
        listener = listening_socket(settings.host, settings.http_port)
        stack.callback(listener.close)
        core = await stack.enter_async_context(
            open_core(settings, dsn=dsn, runtime_url=runtime_url, verifier=verifier)
        )
        port = listener.getsockname()[1]
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        origins = settings.allowed_origins
        if settings.dev:
            origins += (f"http://{host}:{port}", f"http://localhost:{port}")
        exporter = MetricsExporter(
            gauges(
                core,
                window_limit_bytes=settings.max_window_mib << 20,
                queue_limit_bytes=settings.max_queue_mib << 20,
            ),
            core.metrics,
            thread_labels=settings.metrics_threads,
        )
        ready = readiness(core)
        app = create_http_app(
            core,
            Probes(ready, exporter.exposition),
            HttpOptions(origins, query_token=settings.query_token, dev=settings.dev),
        )
        http = HubServer(
            uvicorn_config(
                traced_asgi(app) if settings.traces else app,
                drain_s=DRAIN_S,
                send_deadline_s=settings.send_deadline_s,
                max_connections=settings.max_connections,
            )
        )
        rpc = create_grpc_server(
            core,
            dev=settings.dev,
            traced=settings.traces,
            limits=GrpcLimits(
                max_calls=settings.grpc_max_calls, connection_age_s=settings.grpc_max_connection_age_s
            ),
            peers=frozenset(settings.grpc_allowed_sans),
        )
        grpc_port = _bound(rpc, f"{host}:{settings.grpc_port}", tls_of(settings))
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        core.background.add_done_callback(lambda task: report_failure(task, failed))
        await rpc.start()
        following = asyncio.create_task(rpc.health.follow(ready, SystemClock()), name="health")
        following.add_done_callback(lambda task: report_failure(task, failed))
        stack.push_async_callback(stop_task, following)
        serving = asyncio.create_task(http.serve(sockets=[listener]), name="http")
        serving.add_done_callback(lambda task: report_failure(task, failed))
        stack.push_async_callback(drain, core, http, serving, rpc, settings.drain_s)
        await asyncio.wait({serving, asyncio.ensure_future(http.up.wait())}, return_when="FIRST_COMPLETED")
        yield Hub(core, f"http://{host}:{port}", f"{host}:{grpc_port}", failed)


def _bound(rpc: GrpcFace, address: str, tls: Tls | None) -> int:
    """Bind the face; the port."""
    if tls is None:
        return rpc.server.add_insecure_port(address)
    return rpc.server.add_secure_port(address, server_credentials(tls))
