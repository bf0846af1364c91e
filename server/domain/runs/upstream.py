"""The session with the runtime about one run: its job, its frames and its state, until there is a verdict.

I/O alone. What comes is reported to the rules (`server.domain.runs.verdict`), and the action that they
answer is carried out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from functools import partial
from types import TracebackType
from typing import assert_never

from server.domain.crash_points import crash_point
from server.domain.errors import RuntimeRefused, RuntimeUnavailable
from server.domain.journal.events import DiscontinuityReason, Outcome
from server.domain.model import FailureReason
from server.domain.off_loop import RUNS
from server.domain.proposals.files import File
from server.domain.runs.actions import (
    Action,
    AskFiles,
    AskState,
    AwaitInput,
    Connect,
    KeepListening,
    LeaveConnection,
    NoAnswer,
    StateAnswer,
    Verdict,
)
from server.domain.runs.connection import Connection, FrameRoom
from server.domain.runs.context import LARGE_BYTES, RunContext
from server.domain.runs.invoker import InvokeFailed, Invoker
from server.domain.runs.lease import Lease
from server.domain.runs.listening import ListeningClock
from server.domain.runs.questions import Questions
from server.domain.runs.replies import Reply
from server.domain.runs.run_recorder import RunRecorder
from server.domain.runs.runtime import Frames
from server.domain.runs.status import RunStatus
from server.domain.runs.stream_verdicts import verdict_rules_for
from server.domain.runs.verdict import VerdictRules


class UpstreamSession:
    """One run's session with the runtime. Leaving it closes the connection. replied: as for `Questions`."""

    def __init__(
        self, context: RunContext, lease: Lease, recorder: RunRecorder, replied: asyncio.Event
    ) -> None:
        self._context, self._lease, self._recorder = context, lease, recorder
        #: The runtime's id of the thread; the job's until the runtime has answered.
        self._thread_id = lease.runtime_thread_id
        #: The channel, when it was joined before the invoke, and its frames: the first connection.
        self._channel = AsyncExitStack()
        self._channel_frames: Frames | None = None
        #: The connection and the task that reads it, from `_connect` to `_disconnect`.
        self._connection: Connection
        self._reading: asyncio.Future[Action] | None = None
        #: The time of the rules.
        self._clock = ListeningClock(context.clock)
        self._room = FrameRoom(context.budget, self._clock)
        #: For the last answer about the state.
        self._state_room = FrameRoom(context.budget, self._clock)
        self._questions = Questions(context, lease, recorder, replied)
        self._rules: VerdictRules

    async def __aenter__(self) -> UpstreamSession:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._disconnect()
        self._state_room.give_back()

    async def start(
        self, storing: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
    ) -> InvokeFailed | None:
        """Make sure that the runtime has the job; why it has not. `storing`: as in `Invoker`.

        Raises LeaseLost.
        """
        runtime, limits = self._context.runtime, self._context.limits
        if runtime.push_only and self._lease.status is not RunStatus.RUNNING:
            # Nothing is sent twice on a channel, so it is joined before the invoke.
            failure = await self._join_channel()
            if failure is not None:
                return failure
        result = await Invoker(self._context, self._lease, storing).ensure()
        if isinstance(result, InvokeFailed):
            return result
        from_first_frame = result.from_first_frame
        if result.thread_id != self._thread_id:
            self._thread_id = result.thread_id
            if self._channel_frames is not None:
                # The runtime publishes elsewhere, and its first frames may be lost.
                await self._leave_channel()
                from_first_frame = False
        self._rules = verdict_rules_for(
            limits, push_only=runtime.push_only, from_first_frame=from_first_frame
        )
        return None

    async def _join_channel(self, *, insist: bool = False) -> InvokeFailed | None:
        """Join the runtime's channel; why it could not be joined, while a starter waits and unless
        `insist`."""
        while True:
            try:
                self._channel_frames = await self._channel.enter_async_context(self._stream())
            except RuntimeUnavailable as error:
                if not self._lease.takeovers and not insist:
                    return InvokeFailed(FailureReason.RUNTIME_UNAVAILABLE, error)
            else:
                return None
            await self._context.clock.sleep(self._context.limits.max_reconnect_s)

    async def _leave_channel(self) -> None:
        self._channel_frames = None
        await self._channel.aclose()

    async def verdict(self) -> Verdict:
        """Follow the run until its end is clear, and journal what the verdict adds. Raises LeaseLost."""
        reply = self._questions.undelivered
        action: Action
        if reply is not None:
            action = await self._resume(reply, again=True)
        else:
            action = self._rules.start(self._now(), self._recorder.facts)
        while not isinstance(action, Verdict):
            action = await self._carry_out(action)
        # Nothing more is read, and what was being read is journalled.
        await self._disconnect()
        if action.gap:
            self._recorder.put_discontinuity(DiscontinuityReason.RECONNECTED)
        if action.files is not None:
            # The state of a failed run may not have all files.
            await self._adopt(action.files, complete=action.outcome is Outcome.COMPLETED)
        return action

    async def _carry_out(
        self, action: Connect | KeepListening | LeaveConnection | AwaitInput | AskState | AskFiles
    ) -> Action:
        match action:
            case Connect():
                if self._reading is not None:
                    await self._disconnect()
                if action.after_s:
                    await self._context.clock.sleep(action.after_s)
                self._connect()
                return KeepListening()
            case KeepListening():
                return await self._listen()
            case LeaveConnection():
                await self._disconnect()
                self._context.observer.lost_upstream(self._lease, action.why)
                crash_point("connection_lost")
                return self._rules.lost(self._now(), self._recorder.facts)
            case AskState() | AskFiles():
                return await self._ask(action)
            case AwaitInput():
                await self._disconnect()
                return await self._await_input(action)
            case _:
                assert_never(action)

    def _now(self) -> float:
        return self._clock.now()

    # --- The stream --------------------------------------------------------------------------

    def _stream(self) -> AbstractAsyncContextManager[Frames]:
        return self._context.runtime.stream(self._thread_id, self._admit, self._take, self._reserve)

    async def _admit(self, size_bytes: int) -> None:
        self._rules.heard(self._now())
        await self._room.reserve(size_bytes)
        self._connection.expect(size_bytes)

    def _reserve(self, size_bytes: int) -> bool:
        self._rules.heard(self._now())
        return self._room.reserve_now(size_bytes)

    def _take(self, frames: Sequence[bytes]) -> int:
        # Frames come for a connection that `_connect` has made: it opens the stream.
        return self._connection.take(frames)

    def _connect(self) -> None:
        stream = self._stream() if self._channel_frames is None else nullcontext(self._channel_frames)
        self._channel_frames = None
        self._connection = Connection(
            self._context, self._lease, self._recorder, self._rules, self._clock, self._room
        )
        self._reading = asyncio.ensure_future(self._connection.read(stream))

    async def _disconnect(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        await self._leave_channel()

    async def _listen(self) -> Action:
        """Read on until the connection ends or may be idle."""
        assert self._reading is not None
        as_usual = await self._clock.wait(self._reading, until=self._rules.idle_at)
        if self._reading.done():
            return await self._reading_result()
        if self._connection.ended or not as_usual:
            # Nothing more needs to come, or nobody listened: the runtime is not silent.
            self._rules.heard(self._now())
        return self._rules.idle(self._now(), self._recorder.facts, caught_up=self._connection.caught_up)

    async def _reading_result(self) -> Action:
        """The action of the connection, which has ended."""
        reading = self._reading
        assert reading is not None
        await self._disconnect()
        return reading.result()

    # --- The state ---------------------------------------------------------------------------

    async def _ask(self, question: AskState | AskFiles) -> Action:
        """Ask while the open connection, if there is one, is read; an `end` on it decides first."""
        await self._questions.show()
        if self._reading is None:
            return await self._answered(question)
        asked = asyncio.ensure_future(self._answered(question))
        try:
            await asyncio.wait({asked, self._reading}, return_when=asyncio.FIRST_COMPLETED)
            if self._reading.done() and not isinstance(self._reading.result(), LeaveConnection):
                return await self._reading_result()
            return await asked
        finally:
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)

    async def _answered(self, action: Action) -> Action:
        """Ask for as long as the action is a question. Returns the first other action."""
        while isinstance(action, AskState | AskFiles):
            if action.after_s:
                await self._context.clock.sleep(action.after_s)
            state = await self._state()
            action = self._rules.answered(action, state, self._now(), self._recorder.facts)
            if not (isinstance(action, Verdict | AwaitInput) and action.files):
                self._state_room.give_back()
        return action

    async def _state(self) -> StateAnswer:
        """What the runtime says. A large answer has room in the budget until `_state_room` gives it back."""
        self._state_room.give_back()
        async with AsyncExitStack() as reading:
            admit = partial(self._admit_state, reading)
            try:
                state = await self._context.runtime.state(self._thread_id, admit)
            except (RuntimeUnavailable, RuntimeRefused):
                self._state_room.give_back()
                return NoAnswer()
        crash_point("state_asked")
        return state

    async def _admit_state(self, reading: AsyncExitStack, size_bytes: int) -> None:
        """Wait until an answer may be read, which ends with `reading`. To read a large one takes five times
        its bytes: only one is read or interpreted at a time, of states and frames."""
        await self._state_room.reserve(size_bytes)
        if size_bytes > LARGE_BYTES:
            with self._clock.standing_still():
                await reading.enter_async_context(self._context.large_work)

    async def _adopt(
        self, files: MutableMapping[str, File], *, complete: bool, after_gap: bool = False
    ) -> None:
        """Journal the files of a state, which are the recorder's then, and no longer in `files`. Raises
        LeaseLost."""
        await self._recorder.adopt(files, complete=complete, after_gap=after_gap)
        await RUNS.run_unless_small(map(len, files), _empty, files)
        self._state_room.give_back()

    # --- A person's input --------------------------------------------------------------------

    async def _await_input(self, waiting: AwaitInput) -> Action:
        """Wait for a reply, to be cancelled, or for the state to be failed: no more frames come from the
        runtime."""
        if waiting.files is not None:
            await self._adopt(waiting.files, complete=True, after_gap=True)
        question = AskFiles(AwaitInput(), grace_ends_at=self._now())
        while True:
            reply = await self._questions.take_reply()
            if reply is not None:
                return await self._resume(reply, again=False)
            state = await self._state()
            action = self._rules.answered(question, state, self._now(), self._recorder.facts)
            if not isinstance(action, AwaitInput):
                return action
            await self._questions.wait()

    async def _resume(self, reply: Reply, *, again: bool) -> Action:
        """Give the runtime the reply, and follow the run from there. again: the runtime may have it
        already."""
        push_only = self._context.runtime.push_only
        if push_only:
            await self._join_channel(insist=True)
        once = await self._questions.deliver(self._thread_id, reply)
        if isinstance(once, Verdict):
            return once
        # A channel that was joined before the reply was first given has missed nothing.
        from_first_frame = not again and (once or push_only)
        self._rules = verdict_rules_for(
            self._context.limits, push_only=push_only, from_first_frame=from_first_frame
        )
        return self._rules.start(self._now(), self._recorder.facts)


def _empty(files: MutableMapping[str, File]) -> None:
    """Remove all files, one by one: to free a hundred thousand at once would be one long call."""
    while files:
        files.popitem()
