"""A drive: one run under one lease, from the invoke to the terminal event.

1. What is journalled is what the runtime sent, in order; files, status and the terminal event are
   committed together.
2. Every run ends within a bound: the longest run, plus the time to take over a lost lease.
3. A connection to the runtime may break at any time; what the runtime says about its state is then
   weighed, never taken alone (DESIGN section 5).
4. When the lease is lost, the run's task stops at once and writes nothing more.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from typing import Any, NoReturn

from server.domain.crash_points import crash_point
from server.domain.errors import (
    HubError,
    LeaseLost,
    RuntimeRefused,
    RuntimeUnavailable,
    ShuttingDown,
)
from server.domain.journal.events import (
    DiscontinuityReason,
    Outcome,
)
from server.domain.journal.frame_reconstruction import digest_of, frame_digest
from server.domain.retry import retry_while_unavailable
from server.domain.runs.invoker import InvokeFailed, Invoker
from server.domain.runs.journal_writer import ENDPOINT_TIMEOUT, RunJournalWriter
from server.domain.runs.lease import Lease
from server.domain.runs.observer import Finished, RunContext
from server.domain.runs.runtime import Interpretation, RuntimeState, StreamClosed, UpstreamError
from server.domain.runs.status import RunStatus

#: Frames taken in before other work gets a turn.
TURN_FRAMES = 64


class Drive:
    """One run under one lease."""

    def __init__(self, runner: RunContext, lease: Lease) -> None:
        self.runner = runner
        self.lease = lease
        self.invoked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Nobody may be waiting: a failure is then told by the terminal event alone.
        self.invoked.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.cancelled = asyncio.Event()
        self._restored = asyncio.Event()
        self._record = RunJournalWriter(runner, lease)
        self._connections = 0
        #: Whether nothing can have been missed when the first connection is read.
        self._fresh = False
        #: When the runtime was last heard or asked, and since when an open stream gave no frame.
        self._heard_at = runner.clock.monotonic()
        self._quiet_since = math.inf
        self._error: UpstreamError | None = None
        self._start_error: HubError | None = None
        self._waiting = False
        #: Since when the runtime has said `completed` without files, and sent no frame but those that it
        #: had sent before, in the epoch before.
        self._doubted_at: float | None = None
        #: How often the runtime has said that it does not know the thread, since it last knew it. A
        #: break does not start the count anew, else steady faults would put the verdict off for ever.
        self._unknown = 0
        #: Whether such another frame came since the stream last broke; how many connections in a row
        #: brought none; and whether the last one could have, and was silent.
        self._news = True
        self._barren = 0
        self._had_nothing = False
        #: Whether all that the journal has came again on this connection, if it comes again.
        self._caught_up = True

    async def run(self) -> None:
        """Drive the run to its end, or until the lease is lost."""
        try:
            with self.runner.observer.driving(self.lease):
                await self._finish(await self._verdict())
        except LeaseLost:
            self._fail_start(RuntimeUnavailable("another replica took the run over"))
        finally:
            self._fail_start(ShuttingDown())

    async def release_lease(self, within_s: float) -> None:
        """Hand the run over, once `run` is over: commit what is queued, then give the lease up.

        In this order: a commit renews the lease. Raises DatabaseUnavailable.
        """
        with contextlib.suppress(TimeoutError, LeaseLost):
            async with asyncio.timeout(within_s):
                await self._record.flush()
        await self.runner.runs.release(self.lease)

    def _fail_start(self, error: HubError) -> None:
        if not self.invoked.done():
            self.invoked.set_exception(error)

    async def _verdict(self) -> Finished:
        """Drive the run until it is clear how it ends."""
        if self.lease.takeovers > self.runner.limits.max_takeovers:
            # Not even restored: that may be what kills every replica that tries.
            message = f"{self.lease.takeovers} replicas in a row lost the run without getting it any further"
            return Finished(Outcome.FAILED, reason="crash_loop", message=message)
        work = asyncio.ensure_future(self._work())
        cancel = asyncio.ensure_future(self.cancelled.wait())
        restored = asyncio.ensure_future(self._restored.wait())
        try:
            # However late it is: what the journal has decides which files are stored, and how it ends.
            await asyncio.wait({work, restored}, return_when=asyncio.FIRST_COMPLETED)
            left = self.runner.limits.max_duration_s - self._age_s()
            await asyncio.wait({work, cancel}, timeout=max(left, 0), return_when=asyncio.FIRST_COMPLETED)
            if cancel.done() and not work.done():
                return Finished(Outcome.CANCELLED, reason="cancelled", message="the run was cancelled")
            if not work.done():
                return self._overdue()
            return work.result()
        finally:
            for task in (work, cancel, restored):
                task.cancel()
            await asyncio.gather(work, cancel, restored, return_exceptions=True)

    def _overdue(self) -> Finished:
        limit = f"{self.runner.limits.max_duration_s:.0f} s"
        if self._record.awaiting_input:
            message = f"the agent asked for input and got none within {limit}"
            return Finished(Outcome.FAILED, reason="input_not_given", message=message)
        return Finished(
            Outcome.FAILED, reason="deadline_exceeded", message=f"the run took longer than {limit}"
        )

    def _age_s(self) -> float:
        return (self.runner.clock.now() - self.lease.created_at).total_seconds()

    async def _work(self) -> Finished:
        try:
            await self._patiently(self._record.restore)
            self._restored.set()
            if self.lease.takeovers:
                crash_point("restored")
            async with AsyncExitStack() as subscribed:
                stream = self._stream()
                if self._channel and self.lease.status is not RunStatus.RUNNING:
                    stream = nullcontext(await self._subscribe(subscribed))
                await self._invoke()
                self._waiting = self._record.awaiting_input
                why = "" if self._waiting else await self._read_stream(stream)
            while not self._waiting:
                self.runner.observer.lost_upstream(self.lease, why)
                crash_point("connection_lost")
                if not self._channel:
                    await self._weigh_state()
                await self._back_off()
                why = await self._read_stream(self._stream())
            await self._await_input()
        except Finished as verdict:
            return verdict
        except InvokeFailed as failed:
            # The starter hears of it when the terminal event is committed.
            self._start_error = failed.error
            return Finished(Outcome.FAILED, reason=failed.reason, message=failed.error.message)
        except LeaseLost:
            raise
        except Exception as fault:
            self.runner.observer.faulted(self.lease, fault)
            return Finished(Outcome.FAILED, reason="internal", message="a fault of the hub ended the run")

    # --- Taking the run up -------------------------------------------------------------------

    async def _invoke(self) -> None:
        """Make sure that the runtime has the job, and tell the starter."""
        host = self.runner
        invoking = Invoker(
            self.lease, runtime=host.runtime, runs=host.runs, clock=host.clock, limits=host.limits
        )
        self._fresh = await invoking.ensure()
        self.invoked.set_result(None)

    async def _patiently(self, call: Callable[[], Awaitable[None]]) -> None:
        pause_s = self.runner.limits.database_retry_s
        await retry_while_unavailable(call, self.runner.clock, first_s=pause_s, max_s=pause_s)

    # --- Reading the stream ------------------------------------------------------------------

    @property
    def _channel(self) -> bool:
        """Whether frames come over a channel without history (`Runtime.push_only`)."""
        return self.runner.runtime.push_only

    @property
    def _from_first_frame(self) -> bool:
        """Whether the connection gives the run from its first frame on."""
        return self._fresh and self._connections == 1

    def _stream(self) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self.runner.runtime.stream(self.lease.thread_id)

    async def _subscribe(self, subscribed: AsyncExitStack) -> AsyncIterator[bytes]:
        """Join the channel, which tells nothing twice, before the invoke."""
        while True:
            try:
                return await subscribed.enter_async_context(self._stream())
            except RuntimeUnavailable as error:
                if not self.lease.takeovers:
                    raise InvokeFailed("runtime_unavailable", error) from None
            await self.runner.clock.sleep(self.runner.limits.max_reconnect_s)

    async def _read_stream(self, stream: AbstractAsyncContextManager[AsyncIterator[bytes]]) -> str:
        """Read one connection until it is clear how the run ends (Finished) or it breaks; how."""
        self._connections += 1
        self._error = None
        self._had_nothing = False
        self._heard_at, self._quiet_since = self.runner.clock.monotonic(), math.inf
        if self._channel and not self._from_first_frame:
            # What was missed may be the end: the state is asked at once.
            self._heard_at -= self.runner.limits.idle_s
        read = asyncio.ensure_future(self._read_connection(stream))
        try:
            while True:
                silent_s = self.runner.clock.monotonic() - self._heard_at
                left = self.runner.limits.idle_s - silent_s
                if left <= 0 and self._channel:
                    # Listening goes on all the while: what is not heard was not sent.
                    self._had_nothing = True
                    await self._ask_while_listening(read)
                    continue
                if left <= 0:
                    self._had_nothing = self._caught_up
                    return f"the runtime was silent for {self.runner.limits.idle_s:.0f} s"
                await asyncio.wait({read}, timeout=left)
                if read.done():
                    return read.result()
        finally:
            read.cancel()
            await asyncio.gather(read, return_exceptions=True)

    async def _ask_while_listening(self, read: asyncio.Future[str]) -> None:
        """Ask for the state and go on listening: who leaves a channel misses frames. Raises Finished."""
        asked = asyncio.ensure_future(self._weigh_state())
        both: set[asyncio.Future[Any]] = {read, asked}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if read.done():
                read.result()
            await asked
        finally:
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
        self._heard_at = self.runner.clock.monotonic()

    async def _read_connection(self, stream: AbstractAsyncContextManager[AsyncIterator[bytes]]) -> str:
        full = self.runner.limits.profile == "full" and self._record.epoch == 1
        # A full replay repeats the journalled frames first: they are compared and dropped.
        repeated = len(self._record.digests) if full else 0
        joined = full or self._from_first_frame
        # Frames with ids differ, so equal ones are the same frame, wherever the connection begins; it
        # joins up if the last one that is journalled comes again.
        known = frozenset(self._record.digests if self.runner.limits.profile == "ids" else ())
        self._caught_up = not repeated and not known
        at = 0
        polled = False
        try:
            async with stream as frames:
                self._quiet_since = self.runner.clock.monotonic()
                crash_point("stream_open")
                async for frame in frames:
                    self._heard_at = self._quiet_since = self.runner.clock.monotonic()
                    at += 1
                    if at % TURN_FRAMES == 0:
                        await asyncio.sleep(0)
                    if at <= repeated and frame_digest(frame) == self._record.digests[at - 1]:
                        # An error that is told again is no less an error.
                        self._error = self._record.errors.get(self._record.digests[at - 1], self._error)
                        self._caught_up = at == repeated
                        continue
                    if known and (digest := frame_digest(frame)) in known:
                        joined = joined or digest == self._record.digests[-1]
                        self._caught_up = joined
                        self._error = self._record.errors.get(digest, self._error)
                        continue
                    meaning = self._record.interpret(frame)
                    if meaning.progress is not None:
                        self.runner.on_progress(self.lease.thread_id, meaning.progress)
                        at -= 1
                        continue
                    if at <= repeated:
                        self._record.mark(DiscontinuityReason.REPLAY_DIFFERED)
                        repeated, self._caught_up = 0, True
                    elif not joined:
                        self._record.mark(DiscontinuityReason.RECONNECTED)
                    joined = True
                    if digest_of(meaning.delta) not in self._record.before:
                        self._doubted_at, self._news, self._unknown = None, True, 0
                    if meaning.error is not None:
                        self._error = meaning.error
                    await self._record.take(meaning)
                    crash_point("frame_taken")
                    if meaning.end:
                        await self._weigh_end(meaning, polled=polled)
                        return "the runtime ended its stream before the run was over"
                    polled = meaning.polled
        except (StreamClosed, RuntimeUnavailable, RuntimeRefused) as error:
            return str(error)
        return "the runtime closed its stream without an end"

    # --- Verdicts ----------------------------------------------------------------------------

    async def _weigh_end(self, meaning: Interpretation, *, polled: bool) -> None:
        """What an `end` frame is worth. Raises Finished, or returns: then the stream is tried again."""
        if self._error is not None:
            if self._error.context == ENDPOINT_TIMEOUT:
                # The endpoint gave up, not the run.
                await self._weigh_state()
                return
            raise Finished(
                Outcome.FAILED, reason="upstream_error", message=self._error.message, delta=meaning.delta
            )
        if self._record.awaiting_input:
            self._waiting = True
            return
        if polled:
            await self._weigh_state(meaning.delta)
            return
        if self._record.epoch > 1:
            # The last file map may have been among the frames that were missed: the state has it, too.
            told = await self._adopt_if_told()
            if self._channel and not told and not self._record.shown:
                message = "the run ended, but frames were lost, and with them perhaps its last files"
                raise Finished(Outcome.FAILED, reason="upstream_lost", message=message)
        raise Finished(Outcome.COMPLETED, delta=meaning.delta)

    async def _adopt_if_told(self) -> bool:
        """Take the files of the state of a run that is over, if it has any; whether it has."""
        try:
            state = await self.runner.runtime.state(self.lease.thread_id)
        except (RuntimeUnavailable, RuntimeRefused):
            return False
        if state is None or state.status != "completed" or not state.files:
            return False
        self._adopt(state)
        return True

    async def _await_input(self) -> NoReturn:
        """Keep the run until somebody cancels it or its time is over: nothing more will come."""
        await self._record.flush()
        await self._patiently(lambda: self.runner.runs.await_input(self.lease))
        crash_point("awaiting_input")
        while True:
            await asyncio.Event().wait()

    async def _weigh_state(self, delta: bytes = b"") -> None:
        """Ask the runtime about the thread. Raises Finished; returns when the run goes on.

        `completed` without files is doubted for a while: the runtime says it too early. Unless a poller
        said so (then with its `delta`), the stream is what to look at meanwhile.
        """
        limits, clock = self.runner.limits, self.runner.clock
        if self._doubted_at is None or delta:
            self._doubted_at = clock.monotonic()
        until = self._doubted_at + limits.empty_result_grace_s
        while True:
            try:
                state = await self.runner.runtime.state(self.lease.thread_id)
            except (RuntimeUnavailable, RuntimeRefused):
                return
            crash_point("state_asked")
            self._unknown = 0 if state is not None else self._unknown + 1
            if state is None:
                if self._unknown > limits.max_unknown_thread_answers:
                    if self._stream_may_tell_more():
                        return
                    message = "the runtime no longer knows the run"
                    raise Finished(Outcome.FAILED, reason="upstream_lost", message=message)
            elif state.status in ("completed", "failed") and self._replays and self._stream_may_tell_more():
                return
            elif state.status == "failed":
                self._note_hole(delta)
                self._adopt(state)
                message = state.error or "the runtime says that the run failed"
                raise Finished(Outcome.FAILED, reason="upstream_error", message=message)
            elif state.status != "completed":
                return
            elif state.files:
                self._note_hole(delta)
                self._adopt(state)
                raise Finished(Outcome.COMPLETED, delta=delta)
            elif self._channel:
                self._weigh_silence()
                return
            elif clock.monotonic() >= until:
                self._note_hole(delta)
                if self._record.files:
                    raise Finished(Outcome.COMPLETED, delta=delta)
                message = "the runtime says that the run completed, but shows no file"
                raise Finished(Outcome.FAILED, reason="empty_result", message=message, delta=delta)
            elif not delta and state is not None:
                return
            await clock.sleep(min(limits.state_poll_s, max(until - clock.monotonic(), 0.01)))

    @property
    def _replays(self) -> bool:
        """Whether another connection goes on behind the last frame, and so tells what the state does not."""
        profile = self.runner.limits.profile
        return profile == "ids" or (profile == "full" and self._record.epoch == 1)

    def _stream_may_tell_more(self) -> bool:
        """Whether the stream is worth another look: it brought something new since this was last asked,
        or it broke before it was silent, and that not too often in a row."""
        news, self._news = self._news, False
        self._barren = 0 if news else self._barren + 1
        if self._had_nothing:
            return news
        return self._barren < self.runner.limits.max_fruitless_reconnects

    def _note_hole(self, delta: bytes) -> None:
        """The state decides: what the runtime sent behind the last frame, if anything, is missing.
        Who listens to a channel since before the invoke misses nothing."""
        if not delta and not (self._channel and self._from_first_frame):
            self._record.mark(DiscontinuityReason.RECONNECTED)

    def _weigh_silence(self) -> None:
        """What a quiet channel is worth while the state says completed and shows nothing: no success,
        for that is told by an `end`. Raises Finished once it was quiet for long."""
        quiet_s = self.runner.clock.monotonic() - self._quiet_since
        if quiet_s < self.runner.limits.silent_s:
            return
        if self._from_first_frame:
            message = f"the runtime sent no end and nothing else for {quiet_s:.0f} s"
            raise Finished(Outcome.FAILED, reason="upstream_silent", message=message)
        self._note_hole(b"")
        message = f"frames were lost, and the runtime sent nothing more for {quiet_s:.0f} s"
        raise Finished(Outcome.FAILED, reason="upstream_lost", message=message)

    def _adopt(self, state: RuntimeState) -> None:
        """Take the files of a state answer; a stream that showed files already knows better."""
        if state.files and (state.status == "completed" or not self._record.files):
            self._record.adopt(state.files)

    async def _back_off(self) -> None:
        limits = self.runner.limits
        pause_s = min(limits.reconnect_first_s * 2 ** (self._connections - 1), limits.max_reconnect_s)
        await self.runner.clock.sleep(pause_s)

    async def _finish(self, verdict: Finished) -> None:
        crash_point("before_finish")
        await self._record.finish(verdict)
        if not self.invoked.done():
            self._fail_start(self._start_error or RuntimeUnavailable(verdict.message))
        self.runner.observer.finished(self.lease, verdict.outcome, verdict.reason, self._age_s())
