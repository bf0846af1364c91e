"""Invoker: making sure that the runtime has a run's job, with at most one POST per recorded attempt.

1. `invoking` is committed with its attempt before the POST, `running` behind it.
2. What a POST came to is settled by the runtime's state before any repeat.
3. While a starter waits, a runtime that cannot be reached fails the run. Once the run was taken over,
   nobody waits, and the run waits for the runtime as long as its time lasts.
"""

from __future__ import annotations

from functools import partial

from server.domain.clock import Clock
from server.domain.crash_points import crash_point
from server.domain.errors import HubError, RuntimeRefused, RuntimeUnavailable
from server.domain.retry import retry_while_unavailable
from server.domain.runs.lease import Lease, Runs
from server.domain.runs.limits import RunLimits
from server.domain.runs.runtime import Runtime
from server.domain.runs.status import RunStatus


class InvokeFailed(Exception):
    """The runtime does not have the job. `error` is for the starter, the rest for the verdict."""

    def __init__(self, reason: str, error: HubError) -> None:
        super().__init__(reason)
        self.reason, self.error = reason, error


class Invoker:
    """The invoke of one run under one lease."""

    def __init__(
        self, lease: Lease, *, runtime: Runtime, runs: Runs, clock: Clock, limits: RunLimits
    ) -> None:
        self._lease, self._runtime, self._runs = lease, runtime, runs
        self._clock, self._limits = clock, limits

    async def ensure(self) -> bool:
        """Make sure of it; whether whoever listens by now gets the run from its first frame on.

        Raises InvokeFailed, LeaseLost.
        """
        status, attempt = self._lease.status, self._lease.attempt
        if status is RunStatus.RUNNING:
            return False
        if status is RunStatus.INVOKING:
            if await self._known():
                await self._set_status(RunStatus.RUNNING, attempt)
                return False
            if attempt >= self._limits.max_invoke_attempts:
                message = "the runtime may or may not have taken the run, and does not know it"
                raise InvokeFailed("invoke_uncertain", RuntimeUnavailable(message))
        attempt += 1
        crash_point("before_invoking")
        await self._set_status(RunStatus.INVOKING, attempt)
        crash_point("after_invoking")
        certain = await self._post()
        crash_point("after_post")
        await self._set_status(RunStatus.RUNNING, attempt)
        crash_point("after_running")
        # A POST that was settled late may have been taken long ago: only who subscribed before it
        # missed nothing.
        return certain or self._runtime.push_only

    async def _post(self) -> bool:
        """Send the job; whether its answer came. Raises InvokeFailed when the runtime did not take it."""
        while True:
            try:
                await self._runtime.invoke(self._lease.invocation)
            except RuntimeRefused as error:
                raise InvokeFailed("runtime_refused", error) from None
            except RuntimeUnavailable as error:
                if error.sent and await self._known():
                    return False
                if error.sent or not self._lease.takeovers:
                    raise InvokeFailed("runtime_unavailable", error) from None
                await self._clock.sleep(self._limits.max_reconnect_s)
            else:
                return True

    async def _known(self) -> bool:
        """Whether the runtime knows the thread, asked twice with a pause between.

        No answer is taken for a no while a starter waits, else the question is put again.
        """
        noes = 0
        while True:
            try:
                if await self._runtime.state(self._lease.thread_id) is not None:
                    return True
                noes += 1
            except (RuntimeUnavailable, RuntimeRefused):
                noes += not self._lease.takeovers
            if noes == 2:
                return False
            await self._clock.sleep(self._limits.uncertain_invoke_s)

    async def _set_status(self, status: RunStatus, attempt: int) -> None:
        pause_s = self._limits.database_retry_s
        await retry_while_unavailable(
            partial(self._runs.set_status, self._lease, status, attempt=attempt),
            self._clock,
            first_s=pause_s,
            max_s=pause_s,
        )
