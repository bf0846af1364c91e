"""The runner: the runs that this replica holds the lease of, whether anyone watches or not.

1. A run is driven by one task here (`server.domain.runs.driver`), and by one replica at a time.
2. Leases are renewed while their runs are driven; a run whose lease was lost is dropped at once. A lease
   whose time is over is not lost: as long as nobody else took the run, its owner renews it and goes on.
3. Every replica sweeps for runs that nobody drives, so no run stays without an owner for long. A replica
   that did not reach the database for a while first leaves the owners, who did not either, time to renew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any
from uuid import UUID

from server.domain.crash_points import crash_point
from server.domain.errors import DatabaseUnavailable, LeaseLost, ShuttingDown
from server.domain.runs.context import RunContext
from server.domain.runs.driver import RunDriver
from server.domain.runs.lease import Lease
from server.domain.runs.registry import RunRegistry


class Runner:
    """All runs of this replica. `context` is read when a run begins.

    on_released: called when runs of this replica can be taken over.
    """

    def __init__(
        self, context: RunContext, registry: RunRegistry, *, on_released: Callable[[], None] = lambda: None
    ) -> None:
        self.context = context
        self._registry, self._on_released = registry, on_released
        self._closing = False
        self._drivers: dict[UUID, RunDriver] = {}
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        #: When the database last answered a sweep, and until when none takes a run over.
        self._answered_at = self._patient_until = context.clock.monotonic()
        self._sweep_due = asyncio.Event()
        #: What goes on although nobody waits for it: claims that may be committed, and releases.
        self._going_on: set[asyncio.Task[None]] = set()

    @property
    def live(self) -> int:
        """Runs that this replica drives."""
        return len(self._drivers)

    def check_runtime(self) -> None:
        """Raise RuntimeUnavailable while a run that is started now would fail for sure."""
        self.context.runtime.check_available()

    @property
    def can_resume(self) -> bool:
        """Whether the runtime continues a run with a person's reply."""
        return self.context.runtime.can_resume

    def drive(self, lease: Lease) -> asyncio.Future[None]:
        """Drive a run from now on. The future is done when the runtime has the job, or says why not.

        Once this replica has begun to hand its runs over, the lease is released instead; the future then
        raises ShuttingDown.
        """
        if self._closing:
            return self._handed_on(lease)
        driver = RunDriver(self.context, lease)
        self._drivers[lease.thread_id] = driver
        self._registry.add(lease.thread_id)
        task = asyncio.get_running_loop().create_task(driver.run(), name=f"run {lease.thread_id}")
        self._tasks[lease.thread_id] = task
        task.add_done_callback(lambda done: self._ended(driver, done))
        return driver.invoked

    def _handed_on(self, lease: Lease) -> asyncio.Future[None]:
        self._go_on(self._release([lease]))
        refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        refused.add_done_callback(lambda done: done.cancelled() or done.exception())
        refused.set_exception(ShuttingDown())
        return refused

    def _go_on(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something to its end, also when nobody waits for it any more; its error is seen then, too."""
        task = asyncio.get_running_loop().create_task(work)
        self._going_on.add(task)
        task.add_done_callback(self._going_on.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    def _ended(self, driver: RunDriver, task: asyncio.Task[None]) -> None:
        thread_id = driver.lease.thread_id
        if self._drivers.get(thread_id) is driver:
            del self._drivers[thread_id], self._tasks[thread_id]
            self._registry.discard(thread_id)
        if not self._closing:
            # When this replica stops, `_hand_over` still commits what is queued.
            driver.abandon()
        if not task.cancelled() and (fault := task.exception()) is not None:
            self.context.observer.faulted(driver.lease, fault)

    def cancel(self, thread_id: UUID) -> bool:
        """Cancel a run; False when this replica does not drive it."""
        driver = self._drivers.get(thread_id)
        if driver is None:
            return False
        driver.cancelled.set()
        return True

    def reply(self, thread_id: UUID) -> None:
        """Continue a run with the reply that is stored, if this replica drives it: another one sees it when
        it renews."""
        driver = self._drivers.get(thread_id)
        if driver is not None:
            driver.replied.set()

    def cancel_soon(self, thread_ids: Sequence[UUID]) -> None:
        """End runs whose cancel is recorded, as far as this replica can: others see it when they renew."""
        for thread_id in thread_ids:
            if not self.cancel(thread_id):
                # It may have been queued.
                self.sweep_soon()

    async def wait(self, thread_id: UUID, within_s: float | None = None) -> None:
        """Wait until this replica no longer drives the run, or until `within_s` have passed."""
        task = self._tasks.get(thread_id)
        if task is not None:
            await asyncio.wait({task}, timeout=within_s)

    # --- Leases ------------------------------------------------------------------------------

    async def renew_leases_forever(self) -> None:
        """Renew the leases again and again; soon after an outage of the database."""
        clock = self.context.clock
        while True:
            limits = self.context.limits
            pause_s = limits.renew_s
            try:
                await self.renew_leases()
            except DatabaseUnavailable:
                pause_s = min(pause_s, limits.database_retry_s)
            if any(driver.on_probation for driver in self._drivers.values()):
                # That such a run got further is noted soon: its next takeover may come soon, too.
                pause_s = min(pause_s, limits.advanced_s / 2)
            await clock.sleep(pause_s)

    async def renew_leases(self) -> None:
        """Renew the leases of the runs driven here; drop those lost; see cancel requests and replies."""
        drivers = dict(self._drivers)
        advanced = [id_ for id_, driver in drivers.items() if driver.on_probation and driver.advanced]
        held = await self.context.runs.renew(
            [(thread_id, driver.lease.fence) for thread_id, driver in drivers.items()], advanced=advanced
        )
        for thread_id in advanced:
            drivers[thread_id].on_probation = False
        for thread_id, driver in drivers.items():
            if thread_id not in held:
                self._drop(driver)
                continue
            if held[thread_id].cancelled:
                driver.cancelled.set()
            if held[thread_id].replied:
                driver.replied.set()
            if held[thread_id].release_due:
                driver.release_due.set()

    def _drop(self, driver: RunDriver) -> None:
        """Stop driving a run whose lease is lost; nothing that is queued is sent any more."""
        task = self._tasks.get(driver.lease.thread_id)
        if task is not None and self._drivers.get(driver.lease.thread_id) is driver:
            driver.abandon()
            task.cancel()

    # --- Takeovers ---------------------------------------------------------------------------

    def sweep_soon(self) -> None:
        """Sweep at once: another replica has released runs, or a queued one may begin."""
        self._sweep_due.set()

    async def sweep_forever(self) -> None:
        """Sweep now, and again after each interval or `sweep_soon`."""
        while True:
            with contextlib.suppress(DatabaseUnavailable):
                await self.sweep()
            waits = [
                asyncio.ensure_future(self.context.clock.sleep(self.context.limits.sweep_s)),
                asyncio.ensure_future(self._sweep_due.wait()),
            ]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
            self._sweep_due.clear()

    async def sweep(self) -> None:
        """Take over all runs that nobody drives, and begin those queued ones that may; none once this replica
        shuts down.

        It goes on when the caller leaves: runs that nobody drives would wait for the end of their lease.
        """
        await asyncio.shield(self._go_on(self._sweep()))

    async def _sweep(self) -> None:
        limits, clock = self.context.limits, self.context.clock
        while not self._closing:
            found_at = await self.context.runs.find_expired(self._drivers)
            now = clock.monotonic()
            if now - self._answered_at > limits.sweep_s + limits.renew_s:
                self._patient_until = now + limits.renew_s
            self._answered_at = now
            if found_at is None or now < self._patient_until:
                return
            leases = await self.context.runs.claim_expired(
                limits.max_claim_runs, found_at=found_at, driven=self._drivers
            )
            await self._take_over(leases)
            if len(leases) < limits.max_claim_runs:
                return

    async def _take_over(self, leases: Sequence[Lease]) -> None:
        if self._closing:
            await self._release(leases)
            return
        for lease in leases:
            earlier = self._drivers.get(lease.thread_id)
            if earlier is not None:
                # It began while the run was claimed.
                self._drop(earlier)
                await self.wait(lease.thread_id)
            if lease.dequeued:
                if lease.frozen is None:
                    self.context.observer.dequeued(lease)
                crash_point("dequeued")
            else:
                self.context.observer.taken_over(lease)
                crash_point("taken_over")
            self.drive(lease)

    # --- The end of the replica --------------------------------------------------------------

    async def close(self) -> None:
        """Stop all runs and release their leases, as far as `max_close_s` allows; once.

        A start that waits for the runtime's answer gets it first, within a bound: its caller would otherwise
        not know whether there is a run.
        """
        if self._closing:
            return
        self._closing = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.context.limits.max_close_s):
                await self._hand_all_over()
        for driver in self._drivers.values():
            driver.abandon()

    async def _hand_all_over(self) -> None:
        starting = [driver.invoked for driver in self._drivers.values() if not driver.invoked.done()]
        await self._hand_over([driver for driver in self._drivers.values() if driver.invoked.done()])
        if starting:
            await asyncio.wait(starting, timeout=self.context.limits.start_grace_s)
        await self._hand_over(list(self._drivers.values()))

    async def _hand_over(self, drivers: Sequence[RunDriver]) -> None:
        """Stop runs, commit what is queued, then release their leases: a commit renews them."""
        if not drivers:
            return
        tasks = [self._tasks[driver.lease.thread_id] for driver in drivers]
        for task in tasks:
            task.cancel()
        # A run whose large frame is being interpreted ends after that: the others do not wait for it.
        await asyncio.wait(tasks, timeout=self.context.limits.release_s)
        crash_point("handing_over")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.context.limits.release_s):
                await asyncio.gather(*(self._flush(driver) for driver in drivers))
        for driver in drivers:
            driver.abandon()
        await self._release([driver.lease for driver in drivers])

    async def _release(self, leases: Sequence[Lease]) -> None:
        # What is not released is taken over when its lease ends.
        with contextlib.suppress(DatabaseUnavailable):
            await self.context.runs.release(leases)
            self._on_released()

    async def _flush(self, driver: RunDriver) -> None:
        with contextlib.suppress(LeaseLost):
            await driver.flush()
