"""The hub without its interfaces: parts made from the settings, opened in order and closed in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from importlib.metadata import version
from uuid import UUID, uuid4

import asyncpg

from server.adapters import HubRuntime, create_runtime, create_wakeups, quota_limits, run_limits
from server.auth.authenticator import Authenticator
from server.auth.tokens import TokenVerifier
from server.clock import SystemClock
from server.compiled.choice import compiled_whole_messages, interpreter_of_runs, legacy_tokens
from server.db.journal import PostgresJournal
from server.db.pool import open_pool
from server.db.stores import Stores
from server.domain.access.quotas import SYNC_S, Quotas
from server.domain.access.refused_bytes import RefusedBytes
from server.domain.access.sharing import Sharing
from server.domain.access.stream_authorization import RECHECK_S, AuthorizationRegistry
from server.domain.access.tickets import Tickets
from server.domain.access.users import Directory
from server.domain.byte_budget import ByteBudget
from server.domain.computations import Computations
from server.domain.drafts.busy import WhenBusy
from server.domain.drafts.context import JobContext
from server.domain.drafts.drafts import Drafts
from server.domain.fair_budget import MAX_REQUEST_BYTES, MAX_WAITING_REQUESTS, FairBudget
from server.domain.file_history.file_history import FileHistory
from server.domain.input_replies import InputReplies
from server.domain.journal.retention import SWEEP_S as RETENTION_SWEEP_S
from server.domain.journal.retention import Retention
from server.domain.off_loop import REVIEWS
from server.domain.quarantine.backlog import COUNT_S, Backlog
from server.domain.quarantine.quarantine import Quarantine
from server.domain.refinements import Refinements
from server.domain.retry import every
from server.domain.review.comparisons import Comparisons
from server.domain.review.reviews import Reviews
from server.domain.review.revisions import Revisions
from server.domain.runs.context import RunContext
from server.domain.runs.observer import RunObservers
from server.domain.runs.registry import RunRegistry
from server.domain.runs.runner import Runner
from server.domain.server_info import Feature, ServerInfo
from server.domain.streams.broadcaster import PROGRESS_S, Broadcaster
from server.domain.streams.wakeups import Wakeups
from server.domain.webhooks.delivery import SWEEP_S as DELIVERIES_SWEEP_S
from server.domain.webhooks.delivery import Deliveries
from server.domain.webhooks.targets import AllowedHosts
from server.domain.webhooks.webhooks import Webhooks
from server.domain.workflows import WorkflowService
from server.lifecycle import Core, stop_task, watch_task
from server.observability.logs import RunLog
from server.observability.loop_watch import LoopWatch
from server.observability.metrics import Metrics
from server.observability.traces import RunTraces
from server.runtime.websocket import whole_messages
from server.settings.settings import Settings
from server.supervision import supervise_all
from server.webhooks.sender import HttpSender
from server.wire.codec import ProtobufCodec
from server.wire.webhooks import EVENT_MEDIA_TYPE, cloud_event
from server.worker.frames import FramesInWorker
from server.worker.worker import WorkerProcess


@contextlib.asynccontextmanager
async def open_core(
    settings: Settings,
    *,
    dsn: str,
    runtime_url: str,
    verifier: TokenVerifier,
    compiled: bool = False,
    replica: str | None = None,
    development_controls: bool = False,
) -> AsyncIterator[Core]:
    """The hub's parts on a migrated database. `compiled`: whether they use the compiled module. `replica`
    names this process among its peers; development_controls: whether an interface offers them."""
    clock, metrics = SystemClock(), Metrics()
    replica = replica or f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
    async with contextlib.AsyncExitStack() as stack:
        direct_dsn = settings.database_direct_url.get_secret_value() if settings.database_direct_url else dsn
        pool = await stack.enter_async_context(
            open_pool(
                dsn,
                max_size=settings.database_max_connections,
                # A second address of the same database means that the first one leads through a pooler, which
                # does not support prepared statements.
                statement_cache_size=100 if direct_dsn == dsn else 0,
            )
        )
        await stack.enter_async_context(verifier.running())
        wakeups = create_wakeups(settings, pool, direct_dsn)
        find_messages = compiled_whole_messages(compiled=compiled) or whole_messages
        runtime = create_runtime(settings, runtime_url, metrics, find_messages)
        stack.push_async_callback(runtime.close)
        stores = Stores.on(pool, replica=replica, lease_ttl_s=settings.lease_ttl_s)
        registry = RunRegistry()
        budget = ByteBudget(settings.max_total_queue_mib << 20)
        journal = PostgresJournal(
            pool,
            clock,
            lease_ttl_s=settings.lease_ttl_s,
            max_queued_bytes=settings.max_queue_mib << 20,
            budget=budget,
            on_commit_time=metrics.committed,
        )
        broadcaster = Broadcaster(
            journal,
            clock,
            is_local=registry.owns,
            max_window_bytes=settings.max_window_mib << 20,
            max_shared_bytes=settings.max_total_window_mib << 20,
            wakeups=wakeups,
            legacy_tokens=legacy_tokens(compiled=compiled),
        )
        journal.subscribe(broadcaster.on_commit)
        journal.subscribe(wakeups.on_commit)
        writer = await stack.enter_async_context(journal.writing())

        def show_progress(thread_id: UUID, text: str) -> None:
            broadcaster.show_progress(thread_id, text)
            wakeups.on_progress(thread_id, text)

        frames, reviews = WorkerProcess("frames"), WorkerProcess("reviews")
        stack.push_async_callback(frames.close)
        stack.push_async_callback(reviews.close)
        context = RunContext(
            runtime=runtime,
            journal=journal,
            runs=stores.runs,
            drafts=stores.drafts,
            quarantine=stores.quarantine,
            codec=ProtobufCodec(),
            clock=clock,
            on_progress=show_progress,
            interpreter=interpreter_of_runs(compiled=compiled),
            limits=run_limits(settings),
            budget=budget,
            observer=RunObservers(RunLog(), metrics, *((RunTraces(),) if settings.traces else ())),
            worker=FramesInWorker(frames),
        )
        allowed_hosts = AllowedHosts(settings.webhook_allowed_hosts)
        sender = await stack.enter_async_context(HttpSender(allowed_hosts, media_type=EVENT_MEDIA_TYPE))
        runner = Runner(context, registry, on_released=wakeups.on_released)
        journal.on_queue = runner.sweep_soon
        stack.push_async_callback(runner.close)
        core = _core(
            settings,
            server_info=_server_info(settings, runtime, development_controls=development_controls),
            verifier=verifier,
            stores=stores,
            runner=runner,
            broadcaster=broadcaster,
            pool=pool,
            journal=journal,
            writer=writer,
            runtime=runtime,
            wakeups=wakeups,
            metrics=metrics,
            allowed_hosts=allowed_hosts,
            deliveries=Deliveries(stores.deliveries, sender, cloud_event, clock, metrics),
            computations=Computations(REVIEWS, reviews),
        )
        stack.push_async_callback(stop_task, core.background)
        # The background begins, so that each of its parts is awaited even when the hub stops at once.
        await asyncio.sleep(0)
        await stack.enter_async_context(LoopWatch(metrics.loop_ticked).watching())
        yield core


def _server_info(settings: Settings, runtime: HubRuntime, *, development_controls: bool) -> ServerInfo:
    features = set(Feature)
    if not development_controls:
        features.discard(Feature.DEVELOPMENT_CONTROLS)
    if not settings.directory_domains:
        features.discard(Feature.USER_SEARCH)
    if not runtime.can_resume:
        features.discard(Feature.INPUT_REPLIES)
    if not runtime.can_cancel:
        features.discard(Feature.RUNTIME_CANCEL)
    if run_limits(settings).profile != "full":
        features.discard(Feature.RUNTIME_REPLAY)
    when_busy = WhenBusy(settings.when_busy)
    return ServerInfo(version("ide-orchestrator"), features, when_busy, quota_limits(settings))


def _core(
    settings: Settings,
    *,
    server_info: ServerInfo,
    verifier: TokenVerifier,
    stores: Stores,
    runner: Runner,
    broadcaster: Broadcaster,
    wakeups: Wakeups,
    metrics: Metrics,
    pool: asyncpg.Pool,
    journal: PostgresJournal,
    writer: asyncio.Task[None],
    runtime: HubRuntime,
    allowed_hosts: AllowedHosts,
    deliveries: Deliveries,
    computations: Computations,
) -> Core:
    """The use cases on the open parts, and the background tasks."""
    context, clock = runner.context, runner.context.clock
    authorizations = AuthorizationRegistry(stores.access, clock, on_changed=broadcaster.wake)
    quotas = Quotas(stores.quotas, quota_limits(settings))
    keep = timedelta(days=settings.journal_retention_days)
    retention = Retention(stores.retention, keep, on_removed=metrics.removed)
    backlog = Backlog(stores.quarantine)
    background = supervise_all(
        {
            "catching up": broadcaster.catch_up.read_forever,
            "wake-ups": lambda: wakeups.run_forever(broadcaster, on_released=runner.sweep_soon),
            "poll": lambda: every(broadcaster.poll_interval_s, broadcaster.poll, clock),
            "progress": lambda: every(PROGRESS_S, broadcaster.send_progress, clock),
            "heartbeats": lambda: every(settings.heartbeat_s, broadcaster.send_heartbeats, clock),
            "authorization of streams": lambda: every(RECHECK_S, authorizations.recheck, clock),
            "quotas": lambda: every(SYNC_S, quotas.sync, clock, immediately=True),
            "lost commits": journal.restore_forever,
            "retention": lambda: every(RETENTION_SWEEP_S, retention.sweep, clock),
            "backlog of the quarantine": lambda: every(COUNT_S, backlog.count, clock, immediately=True),
            "webhooks": deliveries.deliver_forever,
            "sweeps of deliveries": lambda: every(DELIVERIES_SWEEP_S, deliveries.sweep, clock),
            "renewal of leases": runner.renew_leases_forever,
            "takeovers": runner.sweep_forever,
        },
        clock,
        # It is stopped after the runs, which it serves to their end.
        watch_task(writer),
    )
    refinements = Refinements(
        proposals=stores.proposals,
        access=stores.access,
        workflows=stores.workflows,
        runs=stores.runs,
        runner=runner,
        broadcaster=broadcaster,
        authorizations=authorizations,
        quotas=quotas,
        observer=context.observer,
        codec=context.codec,
        clock=clock,
        job_context=JobContext(settings.job_context),
        when_busy=WhenBusy(settings.when_busy),
    )
    return Core(
        pool=pool,
        journal=journal,
        broadcaster=broadcaster,
        runner=runner,
        runtime=runtime,
        refinements=refinements,
        input_replies=InputReplies(
            refinements=refinements,
            access=stores.access,
            replies=stores.replies,
            runner=runner,
            codec=context.codec,
        ),
        file_history=FileHistory(
            proposals=stores.proposals,
            index=stores.file_index,
            journal=journal,
            codec=context.codec,
            memory=broadcaster.memory,
            computations=computations,
        ),
        proposals=stores.proposals,
        contents=stores.contents,
        workflows=WorkflowService(
            workflows=stores.workflows, drafts=stores.drafts, quotas=quotas, clock=clock
        ),
        drafts=Drafts(store=stores.drafts, quotas=quotas, clock=clock),
        draft_store=stores.drafts,
        comparisons=Comparisons(stores.reviews, stores.drafts, computations),
        reviews=Reviews(store=stores.reviews, quotas=quotas, clock=clock, computations=computations),
        revisions=Revisions(store=stores.reviews, refinements=refinements, computations=computations),
        webhooks=Webhooks(store=stores.webhooks, quotas=quotas, clock=clock, allowed_hosts=allowed_hosts),
        webhook_store=stores.webhooks,
        access=stores.access,
        sharing=Sharing(stores.access, quotas),
        directory=Directory(stores.users, settings.directory_domains),
        authenticator=Authenticator(
            verifier=verifier,
            users=stores.users,
            links=stores.access,
            clock=clock,
            observer=metrics,
            operators=settings.operators,
        ),
        authorizations=authorizations,
        quotas=quotas,
        server_info=server_info,
        tickets=Tickets(store=stores.tickets, proposals=stores.proposals, quotas=quotas),
        quarantine=Quarantine(stores.quarantine, journal, context.codec, context.interpreter),
        background=asyncio.create_task(background, name="background"),
        wakeups=wakeups,
        readers=metrics,
        cut_offs=metrics,
        refused_bytes=RefusedBytes(clock),
        outgoing=FairBudget(),
        incoming=FairBudget(MAX_REQUEST_BYTES, max_waiting=MAX_WAITING_REQUESTS),
        metrics=metrics,
        retention=retention,
        backlog=backlog,
        deliveries=deliveries,
    )
