"""The running hub: its parts, its readiness, the values of its gauges, and how it stops without a loss."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import asyncpg

from server.adapters import HubRuntime
from server.db.journal import PostgresJournal
from server.domain.access.quotas import Quotas
from server.domain.access.stream_authorization import AuthorizationRegistry
from server.domain.crash_points import crash_point
from server.domain.journal.retention import Retention
from server.domain.quarantine.backlog import Backlog
from server.domain.readiness import Readiness
from server.domain.runs.runner import Runner
from server.domain.streams.broadcaster import Broadcaster
from server.domain.streams.wakeups import Wakeups
from server.domain.webhooks.delivery import Deliveries
from server.grpc.app import GrpcServer
from server.http.server import HubServer
from server.observability.metrics import Metrics
from server.supervision import PartFailed, log_failure, root_fault
from server.use_cases import UseCases

#: Seconds that open calls have to end once the hub stops.
DRAIN_S = 2.0
#: Seconds within which the readiness check answers.
READY_S = 1.0


@dataclass(frozen=True, slots=True)
class Core(UseCases):
    """The hub without its interfaces: the use cases, and the parts below them."""

    pool: asyncpg.Pool
    journal: PostgresJournal
    broadcaster: Broadcaster
    runner: Runner
    runtime: HubRuntime
    authorizations: AuthorizationRegistry
    quotas: Quotas
    metrics: Metrics
    retention: Retention
    backlog: Backlog
    deliveries: Deliveries
    #: Hints between replicas. While it is not `healthy`, replicas only poll more often.
    wakeups: Wakeups
    #: Runs until it is cancelled, or raises the failure of a part of the hub.
    background: asyncio.Task[None]


@dataclass(frozen=True, slots=True)
class Hub:
    """The hub with both interfaces, serving."""

    core: Core
    http_address: str
    grpc_address: str
    #: Done when a part of the hub failed; holds the failure.
    failed: asyncio.Future[None]


async def watch_task(task: asyncio.Task[None]) -> None:
    """Wait for a task that is stopped elsewhere, after this call is cancelled.

    Raises PartFailed.
    """
    await asyncio.wait({task})
    raise PartFailed(task.get_name()) from (None if task.cancelled() else task.exception())


async def stop_task(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def report_failure(task: asyncio.Task[None], failed: asyncio.Future[None]) -> None:
    """Log the failure of a finished task, and set it as the hub's."""
    if task.cancelled() or failed.done():
        return
    if (fault := task.exception()) is not None:
        fault = root_fault(fault)
        log_failure(fault.part if isinstance(fault, PartFailed) else task.get_name(), fault, final=True)
        failed.set_exception(fault)


async def drain(
    core: Core, http: HubServer, serving: asyncio.Task[None], rpc: GrpcServer, window_s: float
) -> None:
    """Refuse new work, hand runs over, ask readers to reconnect elsewhere over `window_s`, then stop."""
    crash_point("draining")
    core.refinements.accepting = False
    await rpc.drain()
    await core.runner.close()
    await core.broadcaster.drain(window_s)
    http.stop()
    await asyncio.gather(rpc.stop(DRAIN_S), serving, return_exceptions=True)


def gauges(core: Core, *, window_limit_bytes: int, queue_limit_bytes: int) -> dict[str, Callable[[], float]]:
    """The function that reads each gauge, by name."""
    breaker = core.runtime.breaker
    return {
        "runs_live": lambda: core.runner.live,
        "followers": lambda: core.broadcaster.readers,
        "followed_threads": lambda: len(core.broadcaster),
        "window_bytes": lambda: core.broadcaster.shared_bytes,
        "window_limit_bytes": lambda: window_limit_bytes,
        "journal_queued_bytes": lambda: core.journal.queued_bytes,
        "journal_queue_limit_bytes": lambda: queue_limit_bytes,
        "breaker_open": lambda: {"closed": 0.0, "half_open": 0.5}.get(breaker.state, 1.0),
        "wakeups_healthy": lambda: core.wakeups.healthy,
        "database_connections": core.pool.get_size,
        "database_connections_idle": core.pool.get_idle_size,
        "database_connections_limit": core.pool.get_max_size,
        "accepting": lambda: core.refinements.accepting,
        "quarantined_frames": lambda: core.backlog.frames,
        "quarantined_shapes": lambda: core.backlog.shapes,
    }


def readiness(core: Core) -> Callable[[], Awaitable[Readiness]]:
    """The readiness check of this replica, which answers within READY_S.

    While the database takes no writes, callers are not sent elsewhere: all replicas have the same one, and
    what is stored can be read and followed.
    """
    probes: list[asyncio.Task[bool | None]] = []

    def probe() -> asyncio.Task[bool | None]:
        """The question to the database that is under way, or a new one: an outage keeps no more of them."""
        if not probes or probes[0].done():
            probes[:] = [asyncio.create_task(_takes_writes(core.pool), name="readiness")]
        return probes[0]

    async def _ready() -> Readiness:
        failing: list[str] = []
        if not core.refinements.accepting:
            failing.append("draining")
        if not core.authenticator.ready:
            failing.append("keys")
        writes = await _within_ready_s(probe())
        if writes is None:
            failing.append("database")
        return Readiness(failing, ["database_read_only"] if writes is False else [])

    return _ready


async def _within_ready_s(probe: asyncio.Task[bool | None]) -> bool | None:
    await asyncio.wait({probe}, timeout=READY_S)
    return probe.result() if probe.done() else None


async def _takes_writes(pool: asyncpg.Pool) -> bool | None:
    """Whether the database takes writes; None when it does not answer, whatever the reason."""
    try:
        return bool(await pool.fetchval("SHOW transaction_read_only", timeout=READY_S) == "off")
    except Exception:
        return None
