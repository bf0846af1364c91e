"""The runner: the runs that this replica holds the lease of, whether anyone watches or not.

1. A run is driven by one task here (`server.domain.runs.driver`), and by one replica at a time.
2. Leases are renewed while their runs are driven; a run whose lease was lost is dropped at once.
3. Every replica sweeps for runs that nobody drives, so no run stays without an owner for long.
"""

from __future__ import annotations

import asyncio
from uuid import UUID

from server.domain.crash_points import crash_point
from server.domain.errors import DatabaseUnavailable
from server.domain.runs.context import RunContext
from server.domain.runs.driver import RunDriver
from server.domain.runs.lease import Lease
from server.domain.runs.registry import RunRegistry


class Runner:
    """All runs of this replica. `context` is read when a run begins."""

    def __init__(self, context: RunContext, registry: RunRegistry) -> None:
        self.context = context
        self._registry = registry
        self._closing = False
        self._drivers: dict[UUID, RunDriver] = {}
        self._tasks: dict[UUID, asyncio.Task[None]] = {}

    @property
    def live(self) -> int:
        """Runs that this replica drives."""
        return len(self._drivers)

    def check_runtime(self) -> None:
        """Raise RuntimeUnavailable while a run that is started now would fail for sure."""
        self.context.runtime.check_available()

    def drive(self, lease: Lease) -> asyncio.Future[None]:
        """Drive a run from now on. The future is done when the runtime has the job, or says why not."""
        driver = RunDriver(self.context, lease)
        self._drivers[lease.thread_id] = driver
        self._registry.add(lease.thread_id)
        task = asyncio.get_running_loop().create_task(driver.run(), name=f"run {lease.thread_id}")
        self._tasks[lease.thread_id] = task
        task.add_done_callback(lambda done: self._ended(driver, done))
        return driver.invoked

    def _ended(self, driver: RunDriver, task: asyncio.Task[None]) -> None:
        thread_id = driver.lease.thread_id
        if self._drivers.get(thread_id) is driver:
            del self._drivers[thread_id], self._tasks[thread_id]
            self._registry.discard(thread_id)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self.context.observer.faulted(driver.lease, fault)

    def cancel(self, thread_id: UUID) -> bool:
        """Cancel a run; False when this replica does not drive it."""
        driver = self._drivers.get(thread_id)
        if driver is None:
            return False
        driver.cancelled.set()
        return True

    async def wait(self, thread_id: UUID) -> None:
        """Wait until this replica no longer drives the run."""
        task = self._tasks.get(thread_id)
        if task is not None:
            await asyncio.wait({task})

    async def keep_leases(self) -> None:
        """Renew the leases of the runs driven here; drop those lost; see cancel requests."""
        drivers = dict(self._drivers)
        held = await self.context.runs.renew([(id_, driver.lease.fence) for id_, driver in drivers.items()])
        for thread_id, driver in drivers.items():
            if thread_id not in held:
                task = self._tasks.get(thread_id)
                if task is not None and self._drivers.get(thread_id) is driver:
                    task.cancel()
            elif held[thread_id]:
                driver.cancelled.set()

    async def sweep(self) -> None:
        """Take over once, a bounded number of runs; none once this replica shuts down."""
        if self._closing:
            return
        for lease in await self.context.runs.claim_expired(self.context.limits.max_sweep_runs):
            if lease.thread_id in self._drivers:
                self._tasks[lease.thread_id].cancel()
                await self.wait(lease.thread_id)
            self.context.observer.taken_over(lease)
            crash_point("taken_over")
            self.drive(lease)

    async def close(self) -> None:
        """Stop all runs and release their leases. A start that waits for the runtime's answer gets it
        first, within a bound: its caller would otherwise not know whether there is a run."""
        self._closing = True
        limits = self.context.limits
        starting = [driver.invoked for driver in self._drivers.values() if not driver.invoked.done()]
        if starting:
            await asyncio.wait(starting, timeout=limits.start_grace_s)
        drivers, tasks = list(self._drivers.values()), list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if drivers:
            crash_point("handing_over")
        for driver in drivers:
            try:
                await driver.release_lease(limits.release_s)
            except DatabaseUnavailable:
                return
