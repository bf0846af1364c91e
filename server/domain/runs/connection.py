"""One connection to the runtime's stream: its frames are journalled, and reported to the rules."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext

from typing_extensions import override

from server.domain.access.on_behalf_of import on_behalf_of
from server.domain.byte_budget import ByteBudget
from server.domain.crash_points import crash_point
from server.domain.errors import RuntimeRefused, RuntimeUnavailable
from server.domain.journal.events import DiscontinuityReason
from server.domain.loop_turns import TURN_BYTES, fill_turn
from server.domain.off_loop import SMALL_BYTES, to_the_end
from server.domain.runs.actions import Action, LeaveConnection
from server.domain.runs.alignment import Alignment
from server.domain.runs.context import LARGE_BYTES, RunContext
from server.domain.runs.lease import Lease
from server.domain.runs.listening import ListeningClock
from server.domain.runs.run_recorder import RunRecorder
from server.domain.runs.runtime import (
    FrameReceiver,
    Frames,
    Interpretation,
    OversizedFrame,
    StreamClosed,
    sizes_of,
)
from server.domain.runs.verdict import VerdictRules
from server.encoding.frame_delta import digest_of

#: Frames handled before other work gets a turn.
TURN_FRAMES = 64
#: Frames that are interpreted one by one in a turn, with all of which it is full: those that the hub does not
#: understand take 50 µs each, however short they are.
SINGLE_FRAMES = 32
#: What a token frame means for the verdict.
_TOKEN = Interpretation()
#: And one of a state that changes files alone.
_FILES = Interpretation(shows_files=True)


class FrameRoom:
    """What the frame that is being read has reserved of the budget."""

    def __init__(self, budget: ByteBudget, clock: ListeningClock) -> None:
        self._budget, self._clock = budget, clock
        self.reserved_bytes = 0

    async def reserve(self, size_bytes: int) -> None:
        """Wait until there is room for a frame, for which what was reserved before is given back: what it has
        already may be waited for by others. Meanwhile it is the hub that is silent."""
        self.give_back()
        if not self.reserve_now(size_bytes):
            with self._clock.standing_still():
                await self._budget.reserve(size_bytes)
            self.reserved_bytes += size_bytes

    def reserve_now(self, size_bytes: int) -> bool:
        """Take the room for a frame if there is some. Returns whether there was."""
        is_free = self._budget.reserve_now(size_bytes)
        if is_free:
            self.reserved_bytes += size_bytes
        return is_free

    def give_back(self) -> None:
        """The frame has been handled."""
        reserved_bytes, self.reserved_bytes = self.reserved_bytes, 0
        self._budget.release(reserved_bytes)


class Connection(FrameReceiver):
    """One connection of a run. It is being opened when it is created."""

    def __init__(
        self,
        context: RunContext,
        lease: Lease,
        recorder: RunRecorder,
        rules: VerdictRules,
        clock: ListeningClock,
        room: FrameRoom,
    ) -> None:
        self._context, self._lease, self._recorder = context, lease, recorder
        self._rules, self._clock, self._room = rules, clock, room
        #: Frames since other work had a turn, and those that were interpreted one by one.
        self._handled = self._single = 0
        #: The delta of its `end`, behind which the runtime may send more for a while; a channel stays open.
        self._end: bytes | None = None
        self._remaining = asyncio.timeout(None)
        #: For the rest of a large frame.
        self._rest = asyncio.timeout(None)
        rules.connecting(clock.now())
        self._alignment = Alignment(
            context.limits.profile,
            recorder.journalled.digests,
            epoch=recorder.journalled.epoch,
            from_first_frame=rules.from_first_frame,
        )

    @property
    def ended(self) -> bool:
        """Whether it has brought its `end`."""
        return self._end is not None

    @property
    def caught_up(self) -> bool:
        """As in `Alignment`."""
        return self._alignment.caught_up

    async def read(self, stream: AbstractAsyncContextManager[Frames]) -> Action:
        """Journal its frames until it breaks, or has brought its `end` and all behind it."""
        try:
            async with stream as frames, self._remaining, self._rest:
                self._rules.connected(self._clock.now())
                crash_point("stream_open")
                async for together in frames:
                    if self._rest.when() is not None:
                        self._rest.reschedule(None)
                    await self._on_frames(together)
                    # Only their events wait for capacity.
                    del together
                    self._room.give_back()
                    await self._wait_for_capacity()
            why = "the runtime closed its stream without an end"
        except RuntimeRefused as error:
            why = error.summary
        except (StreamClosed, RuntimeUnavailable) as error:
            why = str(error)
        except TimeoutError:
            if self._end is None and not self._rest.expired():
                raise
            why = "the runtime did not send the rest of a frame in time"
        finally:
            self._room.give_back()
        if self._end is None:
            return LeaveConnection(why)
        return self._rules.ended(self._end, self._clock.now(), self._recorder.facts)

    @override
    async def admit(self, size_bytes: int) -> None:
        """As in `FrameReceiver`. Meanwhile it is the hub that is silent."""
        self._rules.heard(self._clock.now())
        await self._room.reserve(size_bytes)
        if size_bytes > SMALL_BYTES:
            # Others may wait for this room.
            self._rest.reschedule(asyncio.get_running_loop().time() + self._context.limits.rest_s)

    @override
    def reserve(self, size_bytes: int) -> bool:
        """As in `FrameReceiver`."""
        self._rules.heard(self._clock.now())
        return self._room.reserve_now(size_bytes)

    @override
    def take(self, frames: Sequence[bytes], size_bytes: int) -> int:
        """Journal the first of the frames that came together while `read` waits for some, as far as there is
        nothing to wait for. Returns how many. Raises LeaseLost."""
        if self._end is not None or not self._alignment.over:
            return 0
        if len(frames) > 1:
            count, size_bytes = fill_turn(sizes_of(frames))
            if count < len(frames):
                frames = frames[:count]
        context, room = self._context, self._room
        if room.reserved_bytes < size_bytes and not context.budget.has_room(size_bytes):
            return 0
        if not context.turns.take_now(size_bytes):
            return 0
        taken = self._on_quick_frames(frames)
        if taken and room.reserved_bytes:
            room.give_back()
        return taken

    async def _on_frames(self, frames: Sequence[bytes | OversizedFrame]) -> None:
        """Journal frames that came together."""
        while frames:
            granted, size_bytes = fill_turn(sizes_of(frames))
            await self._context.turns.take(on_behalf_of.get(), size_bytes)
            together, frames = frames[:granted], frames[granted:]
            while together:
                if self._single >= SINGLE_FRAMES:
                    self._single = 0
                    await self._context.turns.take(on_behalf_of.get(), TURN_BYTES)
                count = self._on_quick_frames(together) if self._alignment.over else 0
                if not count:
                    count = 1
                    await self._on_frame(together[0])
                together = together[count:]
                if together or frames:
                    await self._wait_for_capacity()
            self._handled += granted
            if self._handled >= TURN_FRAMES:
                self._handled = 0
                await asyncio.sleep(0)

    def _on_quick_frames(self, frames: Sequence[bytes | OversizedFrame]) -> int:
        """Journal the first frames, up to the connection's `end`, as far as they are quick and nothing has to
        be waited for, not even a turn. Returns how many."""
        recorder, at, end = self._recorder, 0, len(frames)
        while at < end and self._end is None and self._single < SINGLE_FRAMES and recorder.takes_frames:
            count, is_new = recorder.record_tokens(frames, at)
            if count:
                self._note_recorded(_TOKEN, count, is_new)
            else:
                frame = frames[at]
                if isinstance(frame, OversizedFrame) or not self._on_quick(frame):
                    break
                count = 1
            at += count
        return at

    def _on_quick(self, frame: bytes) -> bool:
        """Journal a frame if it is quick and nothing has to be waited for. Returns whether it is."""
        is_new = self._recorder.record_files(frame)
        if is_new is not None:
            self._note_recorded(_FILES, 1, is_new)
            return True
        if not self._recorder.is_quick_now(frame):
            return False
        self._rules.heard(self._clock.now())
        self._on_quick_frame(frame)
        if len(frame) > SMALL_BYTES:
            self._recorder.count_memory()
        return True

    def _note_recorded(self, meaning: Interpretation, count: int, is_new: bool) -> None:
        """Report frames that were journalled without being interpreted one by one."""
        rules = self._rules
        rules.heard(self._clock.now())
        rules.frame(meaning, is_new)
        crash_point("frame_recorded", count)

    async def _on_frame(self, frame: bytes | OversizedFrame) -> None:
        """Journal a frame."""
        self._rules.heard(self._clock.now())
        if isinstance(frame, OversizedFrame):
            self._on_oversized_frame()
            return
        if self._alignment.repeats(frame) is not None:
            return
        if self._recorder.is_quick(frame):
            meaning = self._on_quick_frame(frame)
            if meaning.progress is None and len(frame) > SMALL_BYTES and not self._recorder.count_memory():
                await to_the_end(self._recorder.shrink_memory(meaning))
        else:
            with self._clock.standing_still():
                self._note_end(await to_the_end(self._journal_large(frame)))

    def _on_quick_frame(self, frame: bytes) -> Interpretation:
        """Journal a frame that is interpreted in the loop. Returns its meaning."""
        self._single += 1
        meaning = self._recorder.interpret(frame)
        if self._on_meaning(meaning, frame):
            self._recorder.record(meaning)
        self._note_end(meaning)
        return meaning

    def _note_end(self, meaning: Interpretation) -> None:
        """Note whether a frame that was handled is the connection's `end`."""
        if meaning.progress is not None:
            return
        crash_point("frame_recorded")
        if meaning.end and not self.ended:
            self._end = meaning.delta
            limit_s = self._context.limits.after_end_s
            self._remaining.reschedule(asyncio.get_running_loop().time() + limit_s)

    async def _wait_for_capacity(self) -> None:
        """Wait while much is queued: meanwhile it is the hub that is silent."""
        if self._recorder.is_full:
            with self._clock.standing_still():
                await self._recorder.wait_for_capacity()

    async def _journal_large(self, frame: bytes) -> Interpretation:
        """Journal a large frame. Not to be cancelled: the interpreter would be ahead of the journal."""
        alone = self._context.large_work if len(frame) > LARGE_BYTES else nullcontext()
        async with alone, self._recorder.exclusive:
            found = await self._recorder.interpret_large(frame, after_gap=self._alignment.gap_ahead)
            if self._on_meaning(found.meaning, frame):
                await self._recorder.record_large(found)
        return found.meaning

    def _on_meaning(self, meaning: Interpretation, frame: bytes) -> bool:
        """Report the meaning of a frame. Returns whether it is to be recorded."""
        if meaning.progress is not None:
            self._context.on_progress(self._lease.thread_id, meaning.progress)
            return False
        self._mark_gap()
        self._rules.frame(meaning, is_new=self._recorder.journalled.is_new([digest_of(meaning.delta)]))
        if meaning.end and self.ended:
            self._recorder.put_further_end(frame)
        return True

    def _on_oversized_frame(self) -> None:
        """Mark where a frame is missing that was too large to read."""
        self._mark_gap()
        self._rules.frame(Interpretation(), is_new=True)
        self._recorder.put_discontinuity(DiscontinuityReason.FRAME_TOO_LARGE)

    def _mark_gap(self) -> None:
        gap = self._alignment.gap_before_new_frame()
        if gap is not None:
            self._recorder.put_discontinuity(gap)
