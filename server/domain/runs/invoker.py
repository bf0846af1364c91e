"""The invoke of a run: the runtime gets the job, with at most one POST per recorded attempt.

1. `invoking` is committed with its attempt before the POST, `running` after it.
2. The runtime's state shows what became of an unanswered POST before any repeat. A runtime that chooses
   the thread's id is asked by the job's id, too: the id that it chose was in the answer that did not come.
3. While a starter waits, a runtime that cannot be reached fails the run. After a takeover nobody waits,
   and the run waits for the runtime as long as its time lasts.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from server.domain.crash_points import crash_point
from server.domain.errors import HubError, RuntimeRefused, RuntimeUnavailable
from server.domain.model import FailureReason
from server.domain.runs.base_files import with_files
from server.domain.runs.context import RunContext
from server.domain.runs.lease import Lease
from server.domain.runs.status import RunStatus

#: Answers of "unknown thread" after which the runtime does not know a run: it may know one only a moment
#: after its POST.
MAX_UNKNOWN_ANSWERS = 2


@dataclass(frozen=True, slots=True)
class Invoked:
    """The runtime has the job, and knows its thread as `thread_id`.

    from_first_frame: a stream of that thread that is open by now, or is opened next, gives the run from its
    first frame on.
    """

    thread_id: str
    from_first_frame: bool


@dataclass(frozen=True, slots=True)
class InvokeFailed:
    """The runtime does not have the job. reason: for the verdict. error: for the starter."""

    reason: FailureReason
    error: HubError


class Invoker:
    """The invoke of one run under one lease. `storing`: entered while it waits for the database."""

    def __init__(
        self, context: RunContext, lease: Lease, storing: Callable[[], AbstractAsyncContextManager[None]]
    ) -> None:
        self._context, self._lease, self._storing = context, lease, storing

    async def ensure(self) -> Invoked | InvokeFailed:
        """Make sure that the runtime has the job. Raises LeaseLost."""
        status, attempt = self._lease.status, self._lease.attempt
        if status is RunStatus.RUNNING:
            return Invoked(self._lease.runtime_thread_id, from_first_frame=False)
        if status is RunStatus.INVOKING:
            if await self._is_known():
                await self._set_status(RunStatus.RUNNING, attempt)
                return Invoked(self._job_id, from_first_frame=False)
            if attempt >= self._context.limits.max_invoke_attempts:
                message = "the runtime may or may not have taken the run, and does not know it"
                return InvokeFailed(FailureReason.INVOKE_UNCERTAIN, RuntimeUnavailable(message))
        attempt += 1
        crash_point("before_invoking")
        await self._set_status(RunStatus.INVOKING, attempt)
        crash_point("after_invoking")
        result = await self._post()
        if isinstance(result, InvokeFailed):
            return result
        crash_point("after_post")
        # With the id in the same write: a run that is known as running can be found at the runtime.
        await self._set_status(RunStatus.RUNNING, attempt, result.thread_id)
        crash_point("after_running")
        return result

    async def _post(self) -> Invoked | InvokeFailed:
        """Send the job, until the runtime has it or has not."""
        runtime = self._context.runtime
        async with self._storing():
            job = await with_files(self._context, self._lease.invocation)
        while True:
            try:
                thread_id = await runtime.invoke(job)
            except RuntimeRefused as error:
                return InvokeFailed(FailureReason.RUNTIME_REFUSED, error)
            except RuntimeUnavailable as error:
                if error.sent and await self._is_known():
                    # The job may have been accepted long ago: only a channel that was joined before the
                    # POST has missed nothing.
                    return Invoked(self._job_id, from_first_frame=runtime.push_only)
                if error.sent or not self._lease.takeovers:
                    return InvokeFailed(FailureReason.RUNTIME_UNAVAILABLE, error)
                await self._context.clock.sleep(self._context.limits.max_reconnect_s)
            else:
                return Invoked(thread_id, from_first_frame=True)

    @property
    def _job_id(self) -> str:
        """The thread's id unless the runtime chose another, which only its answer to the POST tells."""
        return str(self._lease.thread_id)

    async def _is_known(self) -> bool:
        """Whether the runtime knows the thread by the job's id: asked again before "unknown" is believed.

        While a starter waits, no answer counts as "unknown"; otherwise the question is repeated.
        """
        unknown_answers = 0
        while True:
            try:
                if await self._context.runtime.state(self._job_id) is not None:
                    return True
                unknown_answers += 1
            except (RuntimeUnavailable, RuntimeRefused):
                unknown_answers += not self._lease.takeovers
            if unknown_answers == MAX_UNKNOWN_ANSWERS:
                return False
            await self._context.clock.sleep(self._context.limits.uncertain_invoke_s)

    async def _set_status(self, status: RunStatus, attempt: int, thread_id: str | None = None) -> None:
        """Record the status as soon as the database can be reached. Raises LeaseLost."""
        async with self._storing():
            await self._context.retry_while_unavailable(
                lambda: self._context.runs.set_status(
                    self._lease, status, attempt=attempt, runtime_thread_id=thread_id
                )
            )
