"""The composition root: settings to opened, ordered, closable parts. Nothing else wires.

Parts are opened in order and closed in reverse. `Core` is the hub without faces: storage, runs and
use cases. `Hub` adds the two faces and serves until it is told to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import structlog
import uvicorn

from server.auth.authenticator import Authenticator
from server.auth.keyset import KeySet
from server.auth.tokens import SharedSecret, TokenVerifier
from server.clock import SystemClock
from server.db.access import PostgresAccessStore
from server.db.errors import database_errors
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
from server.domain.access.quotas import SYNC_S, QuotaLimits, Quotas
from server.domain.access.sharing import ProposalAccess
from server.domain.access.stream_authorization import RECHECK_S, AuthorizationRegistry
from server.domain.access.tickets import Tickets
from server.domain.crash_points import arm, crash_point
from server.domain.errors import DatabaseUnavailable
from server.domain.journal.retention import SWEEP_S as RETENTION_SWEEP_S
from server.domain.journal.retention import Retention
from server.domain.proposals.service import ProposalService
from server.domain.refinements import Refinements
from server.domain.retry import every
from server.domain.runs.context import RunContext
from server.domain.runs.limits import RunLimits
from server.domain.runs.observer import RunObservers
from server.domain.runs.registry import RunRegistry
from server.domain.runs.runner import Runner
from server.domain.streams.broadcaster import Broadcaster
from server.domain.streams.wakeups import Wakeups
from server.domain.workflows import WorkflowService
from server.grpc.app import GrpcFace, GrpcLimits, GrpcServices, create_grpc_server
from server.grpc.transport import Tls, server_credentials
from server.http.app import HttpServices, create_http_app
from server.http.server import uvicorn_config
from server.observability.logs import RunLog
from server.observability.metrics import Metrics, MetricsExporter
from server.observability.traces import RunTraces, traced_asgi, tracing
from server.runtime.channel import ChannelRuntime
from server.runtime.client import DeepagentsRuntime
from server.runtime.frames import Interpreter
from server.settings import Settings, SettingsError
from server.wakeups.postgres import PostgresWakeups
from server.wakeups.redis import RedisWakeups
from server.wire.codec import ProtobufCodec

#: Seconds between two looks for runs that nobody drives.
SWEEP_S = 1.0
#: Seconds that open calls have to end once the hub stops.
DRAIN_S = 2.0
#: Send buffer of a client's socket, in bytes: what a client that stopped reading can hold in the kernel.
SEND_BUFFER_BYTES = 128 << 10
#: Milliseconds after which the kernel gives up a client that acknowledges nothing.
USER_TIMEOUT_MS = 10_000


class NotMigrated(Exception):
    """The database's schema is not the one that this version needs."""


@dataclass(frozen=True, slots=True)
class Core:
    """The hub without its faces."""

    pool: asyncpg.Pool
    journal: PostgresJournal
    broadcaster: Broadcaster
    runner: Runner
    runtime: DeepagentsRuntime
    refinements: Refinements
    proposals: ProposalService
    access: ProposalAccess
    workflows: WorkflowService
    authenticator: Authenticator
    tickets: Tickets
    authorizations: AuthorizationRegistry
    quotas: Quotas
    counts: Metrics
    retention: Retention
    #: Hints between replicas. While it is not `healthy`, replicas poll more often and serve all the same.
    wakeups: Wakeups
    #: Runs until it is cancelled, or raises what a part of the hub failed with.
    background: asyncio.Task[None]


def run_limits(settings: Settings) -> RunLimits:
    """The limits of runs that the settings ask for."""
    return RunLimits(
        max_duration_s=settings.run_max_duration_s,
        idle_s=settings.run_idle_s,
        silent_s=settings.run_silent_s,
        empty_result_grace_s=settings.empty_result_grace_s,
        renew_s=settings.lease_ttl_s / 3,
        # A run that was handed over waits for the next sweep.
        sweep_s=min(SWEEP_S, settings.lease_ttl_s / 3),
        profile=settings.runtime_profile,
    )


def quota_limits(settings: Settings) -> QuotaLimits:
    """What one caller may do at a time, as the settings say."""
    return QuotaLimits(
        max_active_runs=settings.max_active_runs,
        max_creates_per_minute=settings.max_creates_per_minute,
        max_streams=settings.max_streams,
    )


def runtime_of(settings: Settings, runtime_url: str, counts: Metrics) -> DeepagentsRuntime:
    """The runtime, with the source of its frames that the settings ask for (ADR 0013)."""
    if settings.runtime_events_url is not None:
        events_url = settings.runtime_events_url.get_secret_value()
        return ChannelRuntime(runtime_url, events_url, on_answer=counts.answered)
    return DeepagentsRuntime(runtime_url, on_answer=counts.answered)


def wakeups_of(settings: Settings, pool: asyncpg.Pool, direct_dsn: str) -> Wakeups:
    """The carrier of wake-ups that the settings ask for (ADR 0011)."""
    if settings.wakeup_url is not None:
        return RedisWakeups(settings.wakeup_url.get_secret_value())
    return PostgresWakeups(pool, direct_dsn)


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
            _together(
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
        stack.push_async_callback(_stopped, background)
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
            proposals=ProposalService(proposals),
            workflows=WorkflowService(workflows=workflows, quotas=quotas, clock=clock),
            access=ProposalAccess(store=access),
            authenticator=Authenticator(
                verifier=verifier, users=PostgresUserStore(pool), links=access, clock=clock
            ),
            authorizations=authorizations,
            quotas=quotas,
            tickets=Tickets(store=PostgresTicketStore(pool), proposals=proposals),
            background=background,
            wakeups=wakeups,
            counts=counts,
            retention=retention,
        )


async def _together(*parts: Coroutine[Any, Any, None]) -> None:
    """Run the parts; one that fails ends all."""
    async with asyncio.TaskGroup() as group:
        for part in parts:
            group.create_task(part)


async def _stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class _Server(uvicorn.Server):
    """uvicorn without signal handling of its own: the hub decides when it stops."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept, and tell."""
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """Leave signals alone."""
        yield


@dataclass(frozen=True, slots=True)
class Hub:
    """The hub with both faces, serving."""

    core: Core
    http_address: str
    grpc_address: str
    #: Done when a part of the hub failed; holds the failure.
    failed: asyncio.Future[None]


def listening_socket(host: str, port: int) -> socket.socket:
    """A listening TCP socket for clients. Bounds what a client that stopped reading can hold.

    Raises OSError when the address is taken or is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        listener.bind((host, port))
        listener.listen(1024)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def verifier_of(settings: Settings) -> TokenVerifier:
    """The verifier that the settings ask for. Raises SettingsError when they ask for none, or for two."""
    if settings.jwks_url and settings.jwt_secret is not None:
        raise SettingsError(["IDEO_JWKS_URL: works only without IDEO_JWT_SECRET"])
    if settings.jwks_url:
        return KeySet(
            settings.jwks_url,
            issuer=settings.jwt_issuer or "",
            audience=settings.jwt_audience or "",
            clock=SystemClock(),
        )
    if settings.jwt_secret is not None:
        return SharedSecret(
            settings.jwt_secret.get_secret_value(), settings.jwt_issuer, settings.jwt_audience
        )
    raise SettingsError(["IDEO_JWKS_URL: is required, or IDEO_JWT_SECRET with IDEO_ENV=dev"])


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
        app = create_http_app(
            HttpServices(
                refinements=core.refinements,
                proposals=core.proposals,
                access=core.access,
                workflows=core.workflows,
                authenticator=core.authenticator,
                tickets=core.tickets,
                query_token=settings.query_token,
                allowed_origins=origins,
                ready=readiness(core),
                draining=lambda: not core.refinements.accepting,
                metrics=MetricsExporter(
                    readings(core, settings), core.counts, thread_labels=settings.metrics_threads
                ).exposition,
                readers=core.counts,
                dev=settings.dev,
            )
        )
        http = _Server(
            uvicorn_config(
                traced_asgi(app) if settings.traces else app,
                drain_s=DRAIN_S,
                send_deadline_s=settings.send_deadline_s,
                max_connections=settings.max_connections,
            )
        )
        rpc = create_grpc_server(
            GrpcServices(
                refinements=core.refinements,
                proposals=core.proposals,
                access=core.access,
                workflows=core.workflows,
                authenticator=core.authenticator,
                readers=core.counts,
            ),
            dev=settings.dev,
            traced=settings.traces,
            limits=GrpcLimits(
                calls=settings.grpc_max_calls, connection_age_s=settings.grpc_max_connection_age_s
            ),
            peers=frozenset(settings.grpc_allowed_sans),
        )
        grpc_port = _bound(rpc, f"{host}:{settings.grpc_port}", tls_of(settings))
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        core.background.add_done_callback(lambda task: _tell(task, failed))
        await rpc.start()
        following = asyncio.create_task(rpc.health.follow(readiness(core), SystemClock()), name="health")
        following.add_done_callback(lambda task: _tell(task, failed))
        stack.push_async_callback(_stopped, following)
        serving = asyncio.create_task(http.serve(sockets=[listener]), name="http")
        serving.add_done_callback(lambda task: _tell(task, failed))
        stack.push_async_callback(_drain, core, http, serving, rpc, settings.drain_s)
        await asyncio.wait({serving, asyncio.ensure_future(http.up.wait())}, return_when="FIRST_COMPLETED")
        yield Hub(core, f"http://{host}:{port}", f"{host}:{grpc_port}", failed)


def tls_of(settings: Settings) -> Tls | None:
    """The gRPC port's TLS that the settings ask for."""
    if settings.grpc_certificate is None or settings.grpc_key is None:
        return None
    return Tls(settings.grpc_certificate, settings.grpc_key, settings.grpc_client_ca)


def _bound(rpc: GrpcFace, address: str, tls: Tls | None) -> int:
    """Bind the face; the port."""
    if tls is None:
        return rpc.server.add_insecure_port(address)
    return rpc.server.add_secure_port(address, server_credentials(tls))


def _tell(task: asyncio.Task[None], failed: asyncio.Future[None]) -> None:
    if task.cancelled() or failed.done():
        return
    fault = task.exception()
    if fault is not None:
        structlog.stdlib.get_logger("server").error("part_failed", fault=type(fault).__name__)
        failed.set_exception(fault)


async def _drain(
    core: Core, http: _Server, serving: asyncio.Task[None], rpc: GrpcFace, over_s: float
) -> None:
    """Go away without a loss: refuse new work, hand the runs over, send the readers elsewhere, stop."""
    crash_point("draining")
    core.refinements.accepting = False
    await rpc.drain()
    await core.runner.close()
    await core.broadcaster.drain(over_s)
    http.should_exit = True
    await asyncio.gather(rpc.stop(DRAIN_S), serving, return_exceptions=True)


def readings(core: Core, settings: Settings) -> dict[str, Callable[[], float]]:
    """What the metrics read when they are asked for, by name."""
    breaker = core.runtime.breaker
    return {
        "runs_live": lambda: core.runner.live,
        "followers": lambda: core.broadcaster.readers,
        "followed_threads": lambda: len(core.broadcaster),
        "window_bytes": lambda: core.broadcaster.window_bytes,
        "window_limit_bytes": lambda: settings.max_window_mib << 20,
        "journal_queued_bytes": lambda: core.journal.queued_bytes,
        "journal_queue_limit_bytes": lambda: settings.max_queue_mib << 20,
        "breaker_open": lambda: {"closed": 0.0, "half_open": 0.5}.get(breaker.state, 1.0),
        "wakeups_healthy": lambda: core.wakeups.healthy,
        "database_connections": core.pool.get_size,
        "database_connections_idle": core.pool.get_idle_size,
        "database_connections_limit": core.pool.get_max_size,
        "accepting": lambda: core.refinements.accepting,
    }


def readiness(core: Core) -> Callable[[], Awaitable[list[str]]]:
    """What says whether this replica can serve: the names of the checks that fail."""

    async def _failing() -> list[str]:
        problems: list[str] = []
        if not core.refinements.accepting:
            problems.append("draining")
        if not core.authenticator.ready:
            problems.append("keys")
        try:
            with database_errors():
                await core.pool.fetchval("SELECT 1", timeout=2)
        except DatabaseUnavailable:
            problems.append("database")
        return problems

    return _failing
