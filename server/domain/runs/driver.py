"""The driver of one run under one lease, from the invoke to the terminal event.

1. What is journalled is what the runtime sent, in order; files, status and the terminal event are
   committed together.
2. Every run ends within a bound: the longest run, plus the time to take over a lost lease.
3. What the runtime sends, and what it says about its state, become a verdict by pure rules
   (`server.domain.runs.verdict`); the driver does the I/O.
4. When the lease is lost, the run's task stops at once and writes nothing more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from server.domain.access.on_behalf_of import on_behalf_of
from server.domain.crash_points import crash_point
from server.domain.errors import (
    DatabaseUnavailable,
    HubError,
    LeaseLost,
    RuntimeRefused,
    RuntimeUnavailable,
    ShuttingDown,
)
from server.domain.runs.actions import Verdict
from server.domain.runs.base_files import works_on_base
from server.domain.runs.context import RunContext
from server.domain.runs.lease import Lease
from server.domain.runs.releases import Releases
from server.domain.runs.run_recorder import RunRecorder
from server.domain.runs.status import RunStatus
from server.domain.runs.upstream import UpstreamSession
from server.domain.runs.verdict import GIVEN_UP, INTERNAL_FAULT, cancelled, crash_loop, failed, overdue


class RunDriver:
    """One run under one lease.

    invoked: done when the runtime has the job; raises a HubError when it has not. cancelled: set it to
    cancel the run. replied: set it when a person has replied to the agent. release_due: set it when frames of
    the run are to be released from quarantine.
    """

    def __init__(self, context: RunContext, lease: Lease) -> None:
        self.lease = lease
        self.invoked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Nobody may be waiting: then only the terminal event reports a failure.
        self.invoked.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.cancelled, self.replied, self.release_due = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._context = context
        self._granted_at = context.clock.monotonic()
        #: When the journal was restored.
        self._restored_at: float | None = None
        #: Whether takeovers before this lease still count towards a crash loop.
        self.on_probation = lease.takeovers > 0
        self._recorder = RunRecorder(context, lease)
        self._restored = asyncio.Event()
        self._invoke_error: HubError | None = None

    async def run(self) -> None:
        """Drive the run to its end, or until the lease is lost."""
        if on_behalf_of.get() is None:
            # No call started it here: it was taken over, or queued.
            on_behalf_of.set(self.lease.workflow_id)
        try:
            with self._context.observer.driving(self.lease):
                verdict = await self._verdict()
                async with self._stopping(verdict):
                    await self._finish(verdict)
        except LeaseLost:
            self._fail_start(RuntimeUnavailable("another replica took the run over"))
        finally:
            self._recorder.close()
            self._fail_start(ShuttingDown())

    @property
    def advanced(self) -> bool:
        """Whether the run got further under this lease, even if it was quiet: it lasts for longer than a run
        that kills each replica would."""
        limits, now = self._context.limits, self._context.clock.monotonic()
        return self._restored_at is not None and now - self._restored_at >= limits.advanced_s

    async def flush(self) -> None:
        """Wait until what `run` left behind is committed. Raises LeaseLost."""
        await self._recorder.flush()

    def abandon(self) -> None:
        """Drop what `run` left behind, once it is over."""
        self._recorder.abandon()

    async def _verdict(self) -> Verdict:
        """Drive the run until its end is clear, it is cancelled or its time is over."""
        limits = self._context.limits
        self._recorder.begin()
        verdict = crash_loop(self.lease.takeovers, limits)
        if verdict is not None:
            # Not even restored: that may be what kills every replica that tries.
            return verdict
        if self.lease.frozen is not None:
            return cancelled(f"the workflow was {self.lease.frozen} before the run began")
        if self.lease.cancelled and self.lease.status is RunStatus.PENDING:
            return cancelled()
        work = asyncio.ensure_future(self._work())
        cancel = asyncio.ensure_future(self.cancelled.wait())
        restored = asyncio.ensure_future(self._restored.wait())
        releases = asyncio.ensure_future(self._release_frames())
        try:
            # However late it is: the journal decides which files are stored, and how an overdue run ends.
            await asyncio.wait({work, restored}, return_when=asyncio.FIRST_COMPLETED)
            left_s = max(limits.max_duration_s - self._age_s(), 0)
            await asyncio.wait({work, cancel}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            return cancelled() if cancel.done() else overdue(limits, self._recorder.facts)
        finally:
            for task in (work, cancel, restored, releases):
                task.cancel()
            await asyncio.gather(work, cancel, restored, releases, return_exceptions=True)

    async def _work(self) -> Verdict:
        """Restore the run's journal, then follow the runtime. Raises LeaseLost."""
        try:
            await self._restore()
            self._restored_at = self._context.clock.monotonic()
            self._restored.set()
            if self.lease.takeovers:
                crash_point("restored")
            session = UpstreamSession(self._context, self.lease, self._recorder, self.replied)
            async with session as upstream:
                failure = await upstream.start(self._starter_leaving)
                if failure is not None:
                    # The starter learns of it when the terminal event is committed.
                    self._invoke_error = failure.error
                    return failed(failure.reason, failure.error.message)
                if not self.invoked.done():
                    self.invoked.set_result(None)
                return await upstream.verdict()
        except LeaseLost:
            raise
        except Exception as fault:
            self._context.observer.faulted(self.lease, fault)
            return INTERNAL_FAULT

    async def _release_frames(self) -> None:
        """Release frames of the run from quarantine, whenever an operator asks for it. A fault costs the
        release alone."""
        await self._restored.wait()
        try:
            await Releases(self._context, self.lease, self._recorder, self.release_due).release_forever()
        except LeaseLost:
            raise
        except Exception as fault:
            self._context.observer.faulted(self.lease, fault)

    async def _restore(self) -> None:
        """Read the run's journal; at its start there is nothing to read."""
        if self.lease.fresh:
            return
        # Of hundreds of runs that are taken over at once, a few read at a time: the others' commits and
        # renewals need the database, too.
        async with self._context.restores:
            await self._context.retry_while_unavailable(self._recorder.restore)

    async def _finish(self, verdict: Verdict) -> None:
        crash_point("before_finish")
        async with self._starter_leaving():
            if self.lease.invocation.draft is not None:
                await self._note_base()
            await self._recorder.finish(verdict)
        self._fail_start(self._invoke_error or RuntimeUnavailable(verdict.message))
        self._context.observer.finished(self.lease, verdict.outcome, verdict.reason, self._age_s())

    async def _note_base(self) -> None:
        """Record whether the run worked on the draft's files. Raises LeaseLost."""
        await self._recorder.flush()
        try:
            if await works_on_base(self._context, self.lease):
                await self._context.retry_while_unavailable(
                    lambda: self._context.runs.note_base_included(self.lease)
                )
        except LeaseLost:
            raise
        except Exception as fault:
            # The run ends all the same, and deletes nothing.
            self._context.observer.faulted(self.lease, fault)

    @asynccontextmanager
    async def _stopping(self, verdict: Verdict) -> AsyncIterator[None]:
        """While the block stores the end, the runtime stops a run that the hub has given up, if it can."""
        if verdict.reason not in GIVEN_UP or not self._context.runtime.can_cancel:
            yield
            return
        stopping = asyncio.create_task(self._stop(), name="stop at the runtime")
        try:
            yield
            await asyncio.wait({stopping}, timeout=self._context.limits.stop_s)
        finally:
            stopping.cancel()

    async def _stop(self) -> None:
        # The end of the run does not depend on it.
        with suppress(RuntimeUnavailable, RuntimeRefused):
            await self._context.runtime.cancel(self.lease.runtime_thread_id)

    @asynccontextmanager
    async def _starter_leaving(self) -> AsyncIterator[None]:
        """While the block waits for the database, the starter waits with it for `starter_s` only."""

        async def leave() -> None:
            await self._context.clock.sleep(self._context.limits.starter_s)
            self._fail_start(DatabaseUnavailable())

        leaving = None if self.invoked.done() else asyncio.create_task(leave(), name="starter leaves")
        try:
            yield
        finally:
            if leaving is not None:
                leaving.cancel()

    def _fail_start(self, error: HubError) -> None:
        if not self.invoked.done():
            self.invoked.set_exception(error)

    def _age_s(self) -> float:
        return self.lease.age_s + self._context.clock.monotonic() - self._granted_at
