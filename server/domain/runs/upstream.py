"""The session with the runtime about one run: its job, its frames and its state, until there is a verdict.

I/O alone. What comes is reported to the rules (`server.domain.runs.verdict`), and the action that they
answer is carried out.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from types import TracebackType
from typing import assert_never

from server.domain.crash_points import crash_point
from server.domain.errors import RuntimeRefused, RuntimeUnavailable
from server.domain.journal.events import DiscontinuityReason
from server.domain.model import FailureReason
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
from server.domain.runs.alignment import Alignment
from server.domain.runs.context import RunContext
from server.domain.runs.invoker import InvokeFailed, Invoker
from server.domain.runs.lease import Lease
from server.domain.runs.listening import ListeningClock
from server.domain.runs.run_recorder import RunRecorder
from server.domain.runs.runtime import Frames, Interpretation, OversizedFrame, StreamClosed
from server.domain.runs.status import RunStatus
from server.domain.runs.stream_verdicts import verdict_rules_for
from server.domain.runs.verdict import VerdictRules

#: Frames handled before other work gets a turn.
TURN_FRAMES = 64


class UpstreamSession:
    """One run's session with the runtime. Leaving it closes the connection."""

    def __init__(self, context: RunContext, lease: Lease, recorder: RunRecorder) -> None:
        self._context, self._lease, self._recorder = context, lease, recorder
        #: The runtime's id of the thread; the job's until the runtime has answered.
        self._thread_id = lease.runtime_thread_id
        #: The channel, when it was joined before the invoke, and its frames: the first connection.
        self._channel = AsyncExitStack()
        self._channel_frames: Frames | None = None
        #: The task that reads the connection, from `_connect` to `_disconnect`.
        self._reading: asyncio.Future[Action] | None = None
        #: The time of the rules.
        self._clock = ListeningClock(context.clock)
        #: What the frame that is being read has reserved of the budget.
        self._reserved_bytes = 0
        self._alignment: Alignment
        self._rules: VerdictRules

    async def __aenter__(self) -> UpstreamSession:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._disconnect()

    async def start(self) -> InvokeFailed | None:
        """Make sure that the runtime has the job; why it has not. Raises LeaseLost."""
        runtime, limits = self._context.runtime, self._context.limits
        if runtime.push_only and self._lease.status is not RunStatus.RUNNING:
            # Nothing is sent twice on a channel, so it is joined before the invoke.
            failure = await self._join_channel()
            if failure is not None:
                return failure
        result = await Invoker(self._context, self._lease).ensure()
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

    async def _join_channel(self) -> InvokeFailed | None:
        while True:
            try:
                self._channel_frames = await self._channel.enter_async_context(self._stream())
            except RuntimeUnavailable as error:
                if not self._lease.takeovers:
                    return InvokeFailed(FailureReason.RUNTIME_UNAVAILABLE, error)
            else:
                return None
            await self._context.clock.sleep(self._context.limits.max_reconnect_s)

    async def _leave_channel(self) -> None:
        self._channel_frames = None
        await self._channel.aclose()

    async def verdict(self) -> Verdict:
        """Follow the run until its end is clear, and journal what the verdict adds. Raises LeaseLost."""
        action = self._rules.start(self._recorder.facts)
        while not isinstance(action, Verdict):
            action = await self._carry_out(action)
        if action.gap:
            self._recorder.put_discontinuity(DiscontinuityReason.RECONNECTED)
        if action.files is not None:
            self._recorder.adopt(action.files)
        return action

    async def _carry_out(
        self, action: Connect | KeepListening | LeaveConnection | AwaitInput | AskState | AskFiles
    ) -> Action:
        match action:
            case Connect():
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
                return self._rules.lost(self._now())
            case AskState() | AskFiles():
                return await self._ask(action)
            case AwaitInput():
                await self._disconnect()
                return await self._await_input()
            case _:
                assert_never(action)

    def _now(self) -> float:
        return self._clock.now()

    # --- The stream --------------------------------------------------------------------------

    def _stream(self) -> AbstractAsyncContextManager[Frames]:
        return self._context.runtime.stream(self._thread_id, self._admit)

    async def _admit(self, size_bytes: int) -> None:
        """Wait until there is room for a frame. Meanwhile it is the hub that is silent."""
        self._rules.heard(self._now())
        with self._clock.standing_still():
            await self._context.budget.reserve(size_bytes)
        self._reserved_bytes += size_bytes

    def _give_room_back(self) -> None:
        reserved_bytes, self._reserved_bytes = self._reserved_bytes, 0
        self._context.budget.release(reserved_bytes)

    def _connect(self) -> None:
        stream = self._stream() if self._channel_frames is None else nullcontext(self._channel_frames)
        self._channel_frames = None
        self._rules.connecting(self._now())
        self._alignment = Alignment(
            self._context.limits.profile,
            self._recorder.digests,
            epoch=self._recorder.epoch,
            from_first_frame=self._rules.from_first_frame,
        )
        self._reading = asyncio.ensure_future(self._read(stream))

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
            return self._reading.result()
        if not as_usual:
            self._rules.heard(self._now())
        return self._rules.idle(self._now(), caught_up=self._alignment.caught_up)

    async def _read(self, stream: AbstractAsyncContextManager[Frames]) -> Action:
        """Journal the frames of a connection until it breaks or its `end` is settled."""
        count = 0
        try:
            async with stream as frames:
                self._rules.connected(self._now())
                crash_point("stream_open")
                async for frame in frames:
                    count += 1
                    if count % TURN_FRAMES == 0:
                        await asyncio.sleep(0)
                    action = await self._on_frame(frame)
                    self._give_room_back()
                    if action is not None:
                        return await self._answered(action)
        except RuntimeRefused as error:
            return LeaveConnection(error.summary)
        except (StreamClosed, RuntimeUnavailable) as error:
            return LeaveConnection(str(error))
        finally:
            self._give_room_back()
        return LeaveConnection("the runtime closed its stream without an end")

    async def _on_frame(self, frame: bytes | OversizedFrame) -> Action | None:
        """Journal a frame; the action when it is an `end`."""
        self._rules.heard(self._now())
        if isinstance(frame, OversizedFrame):
            self._on_oversized_frame()
            return None
        repeated = self._alignment.repeats(frame)
        if repeated is not None:
            self._rules.repeated(self._recorder.errors.get(repeated))
            return None
        meaning = self._recorder.interpret(frame)
        if meaning.progress is not None:
            self._context.on_progress(self._lease.thread_id, meaning.progress)
            return None
        self._mark_gap()
        self._rules.frame(meaning, is_new=self._recorder.is_new(meaning))
        with self._clock.standing_still():
            await self._recorder.record(meaning)
        crash_point("frame_recorded")
        return self._rules.ended(meaning.delta, self._now(), self._recorder.facts) if meaning.end else None

    def _on_oversized_frame(self) -> None:
        """Mark where a frame is missing that was too large to read."""
        self._mark_gap()
        self._rules.frame(Interpretation(), is_new=True)
        self._recorder.put_discontinuity(DiscontinuityReason.FRAME_TOO_LARGE)

    def _mark_gap(self) -> None:
        gap = self._alignment.gap_before_new_frame()
        if gap is not None:
            self._recorder.put_discontinuity(gap)

    # --- The state ---------------------------------------------------------------------------

    async def _ask(self, question: AskState | AskFiles) -> Action:
        """Ask while the open connection, if there is one, is read; an `end` on it may decide first."""
        if self._reading is None:
            return await self._answered(question)
        asked = asyncio.ensure_future(self._answered(question))
        try:
            await asyncio.wait({asked, self._reading}, return_when=asyncio.FIRST_COMPLETED)
            if self._reading.done() and isinstance(self._reading.result(), Verdict):
                return self._reading.result()
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
        return action

    async def _state(self) -> StateAnswer:
        try:
            state = await self._context.runtime.state(self._thread_id)
        except (RuntimeUnavailable, RuntimeRefused):
            return NoAnswer()
        crash_point("state_asked")
        return state

    # --- A person's input --------------------------------------------------------------------

    async def _await_input(self) -> Action:
        """Show that the agent waits, and wait to be cancelled: nothing more comes from the runtime."""
        await self._recorder.flush()
        await self._context.retry_while_unavailable(lambda: self._context.runs.await_input(self._lease))
        crash_point("awaiting_input")
        never: asyncio.Future[Action] = asyncio.get_running_loop().create_future()
        return await never
