"""The runner: the runs that this replica holds the lease of, whether anyone watches or not.

1. A run is driven by one task here (`server.domain.runs.driver`), and by one replica at a time.
2. Leases are renewed while their runs are driven; a run whose lease was lost is dropped at once.
3. Every replica sweeps for runs that nobody drives, so none stays without an owner for long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import UUID

from server.domain.clock import Clock
from server.domain.crash_points import crash_point
from server.domain.errors import DatabaseUnavailable
from server.domain.journal.journal import EventCodec, Journal
from server.domain.runs.driver import Drive
from server.domain.runs.lease import Lease, Runs
from server.domain.runs.limits import RunLimits
from server.domain.runs.observer import RunObserver
from server.domain.runs.registry import RunRegistry
from server.domain.runs.runtime import FrameInterpreter, Runtime


class Runner:
    """All runs of this replica."""

    def __init__(
        self,
        *,
        runtime: Runtime,
        journal: Journal,
        runs: Runs,
        codec: EventCodec,
        clock: Clock,
        registry: RunRegistry,
        on_progress: Callable[[UUID, str], None],
        interpreter: Callable[[], FrameInterpreter],
        limits: RunLimits,
        observer: RunObserver,
    ) -> None:
        self.runtime, self.journal, self.runs, self.codec = runtime, journal, runs, codec
        self.clock, self.on_progress, self.interpreter = clock, on_progress, interpreter
        self.limits, self.observer = limits, observer
        self._registry = registry
        self._closing = False
        self._drives: dict[UUID, Drive] = {}
        self._tasks: dict[UUID, asyncio.Task[None]] = {}

    @property
    def live(self) -> int:
        """Runs that this replica drives."""
        return len(self._drives)

    def drive(self, lease: Lease) -> asyncio.Future[None]:
        """Drive a run from now on. The future is done when the runtime took it, or says why not."""
        drive = Drive(self, lease)
        self._drives[lease.thread_id] = drive
        self._registry.add(lease.thread_id)
        task = asyncio.get_running_loop().create_task(drive.run(), name=f"run {lease.thread_id}")
        self._tasks[lease.thread_id] = task
        task.add_done_callback(lambda done: self._ended(drive, done))
        return drive.invoked

    def _ended(self, drive: Drive, task: asyncio.Task[None]) -> None:
        thread_id = drive.lease.thread_id
        if self._drives.get(thread_id) is drive:
            del self._drives[thread_id], self._tasks[thread_id]
            self._registry.discard(thread_id)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self.observer.faulted(drive.lease, fault)

    def cancel(self, thread_id: UUID) -> bool:
        """Cancel a run that this replica drives; False when it drives none such."""
        drive = self._drives.get(thread_id)
        if drive is None:
            return False
        drive.cancelled.set()
        return True

    async def wait(self, thread_id: UUID) -> None:
        """Wait until this replica no longer drives the run."""
        task = self._tasks.get(thread_id)
        if task is not None:
            await asyncio.wait({task})

    async def keep_leases(self) -> None:
        """Renew the leases of the runs driven here; drop those lost; see cancel requests."""
        drives = dict(self._drives)
        held = await self.runs.renew([(thread, drive.lease.fence) for thread, drive in drives.items()])
        for thread_id, drive in drives.items():
            if thread_id not in held:
                task = self._tasks.get(thread_id)
                if task is not None and self._drives.get(thread_id) is drive:
                    task.cancel()
            elif held[thread_id]:
                drive.cancelled.set()

    async def sweep(self) -> None:
        """Take over runs that nobody drives, a bounded number; none once this replica shuts down."""
        if self._closing:
            return
        for lease in await self.runs.claim_expired(self.limits.max_sweep_runs):
            if lease.thread_id in self._drives:
                self._tasks[lease.thread_id].cancel()
                await self.wait(lease.thread_id)
            self.observer.taken(lease)
            crash_point("taken_over")
            self.drive(lease)

    async def close(self) -> None:
        """Stop all runs and hand their leases over. A start that waits for the runtime's answer gets
        it first, within a bound: its caller would otherwise not know whether it has a run."""
        self._closing = True
        starting = [drive.invoked for drive in self._drives.values() if not drive.invoked.done()]
        if starting:
            await asyncio.wait(starting, timeout=self.limits.start_grace_s)
        drives, tasks = list(self._drives.values()), list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if drives:
            crash_point("handing_over")
        for drive in drives:
            try:
                await drive.release_lease(self.limits.let_go_s)
            except DatabaseUnavailable:
                return
