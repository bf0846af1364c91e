"""The questions of a run's agent under one lease: shown, answered, and given to the runtime (ADR 0044)."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from server.domain.crash_points import crash_point
from server.domain.errors import RuntimeRefused, RuntimeUnavailable
from server.domain.model import FailureReason
from server.domain.runs.actions import Verdict
from server.domain.runs.context import RunContext
from server.domain.runs.lease import Lease
from server.domain.runs.replies import Reply
from server.domain.runs.run_recorder import RunRecorder
from server.domain.runs.verdict import failed

#: The first of the statuses by which the runtime says that the fault is its own: it may answer otherwise
#: later.
_FIRST_SERVER_ERROR = 500


class Questions:
    """The questions of one run. replied: set when there may be a reply."""

    def __init__(
        self, context: RunContext, lease: Lease, recorder: RunRecorder, replied: asyncio.Event
    ) -> None:
        self._context, self._lease, self._recorder, self._replied = context, lease, recorder, replied
        #: The seq of the question with which the proposal shows that the agent waits for a person.
        self._shown_seq = 0

    @property
    def undelivered(self) -> Reply | None:
        """The reply that an earlier owner has journalled, and the runtime may not have."""
        reply = self._lease.reply
        return reply if reply is not None and reply.seq == self._recorder.journalled.answered_seq else None

    async def show(self) -> None:
        """Show that the agent waits, once it has asked. Raises LeaseLost."""
        asked_seq = self._recorder.journalled.question_seq
        if self._recorder.facts.awaiting_input and self._shown_seq != asked_seq:
            await self._read_reply()

    async def take_reply(self) -> Reply | None:
        """Journal the reply to the last question; without one, show that the agent waits. Raises
        LeaseLost."""
        self._replied.clear()
        reply = await self._read_reply()
        if reply is None:
            crash_point("awaiting_input")
            return None
        await self._recorder.answer(reply)
        # Before the runtime is called: the next owner must know that it may have the reply.
        await self._recorder.flush()
        crash_point("answered")
        return reply

    async def _read_reply(self) -> Reply | None:
        seq = self._recorder.journalled.question_seq
        await self._recorder.flush()
        reply = await self._context.retry_while_unavailable(
            lambda: self._context.runs.await_input(self._lease, seq)
        )
        self._shown_seq = seq
        return reply

    async def wait(self) -> None:
        """Wait for a reply, but not for longer than until the state is to be asked again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._context.limits.waiting_poll_s):
                await self._replied.wait()

    async def deliver(self, thread_id: str, reply: Reply) -> bool | Verdict:
        """Give the runtime a reply, for as long as it takes. Returns whether it was given only once for sure,
        or the verdict when the runtime refuses it. Raises LeaseLost."""
        once = True
        while True:
            try:
                await self._context.runtime.resume(thread_id, reply, self._lease.invocation)
                break
            except RuntimeRefused as error:
                if error.status < _FIRST_SERVER_ERROR:
                    return failed(FailureReason.INPUT_REFUSED, error.message)
                once = False
            except RuntimeUnavailable as error:
                once = once and not error.sent
            await self._context.clock.sleep(self._context.limits.max_reconnect_s)
        crash_point("resumed")
        await self._context.retry_while_unavailable(lambda: self._context.runs.note_resumed(self._lease))
        return once
