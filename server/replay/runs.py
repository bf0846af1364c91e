"""Runs of the replay runtime: a recording and its progress."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from server.replay.directives import FRAMES_PER_SECOND, Directive
from server.replay.recording import Recording

#: Frames that are sent without a pause before other connections get a turn.
_FRAMES_PER_TURN = 64


class Dropped(Exception):
    """The directive breaks the connection here."""


class Steps:
    """Lets each run go on by one frame for each call of `step`."""

    def __init__(self) -> None:
        self.count = 0
        self._stepped = asyncio.Event()

    def step(self) -> None:
        """Let every run go on by one frame."""
        self.count += 1
        self._stepped.set()
        self._stepped = asyncio.Event()

    async def until(self, count: int) -> None:
        """Wait for the step of this number."""
        while self.count < count:
            await self._stepped.wait()


class Run:
    """A recording that plays from its creation, with or without subscribers. resume_id: that of the reply
    that it continues with; None for the first recording of a thread. steps: what lets it go on, instead of
    the time."""

    def __init__(
        self,
        recording: Recording,
        directive: Directive,
        now: Callable[[], float],
        *,
        resume_id: str | None = None,
        steps: Steps | None = None,
    ) -> None:
        self.recording, self.directive, self.now = recording, directive, now
        self.resume_id = resume_id
        self._steps = steps
        self._first_step = 0 if steps is None else steps.count
        self._started_at = now()
        self._pace = directive.speed * FRAMES_PER_SECOND if directive.speed else None
        #: The frames after which a connection breaks or stalls; None once one did.
        self._drop, self._stall = directive.drop, directive.stall
        #: Frames that are sent in total.
        self._count = len(recording.frames)
        self._silent = recording.unfinished or (
            directive.silent is not None and directive.silent < self._count
        )
        if directive.silent is not None:
            self._count = min(directive.silent, self._count)

    @property
    def count(self) -> int:
        """Frames that are sent in total."""
        return self._count

    def position(self) -> int:
        """The number of frames that the agent has published so far."""
        if self._steps is not None:
            return min(self._steps.count - self._first_step, self._count)
        if self._pace is None:
            return self._count
        return min(int((self.now() - self._started_at) * self._pace) + 1, self._count)

    @property
    def over(self) -> bool:
        """Whether the agent has published its last frame."""
        return self.position() == self._count and not self._silent

    async def frames(self) -> AsyncIterator[str]:
        """Every frame from the first, each at its time. Raises Dropped. Does not end for a silent run."""
        for index in range(self._count):
            await self._until_due(index)
            frame = self.recording.frames[index]
            if self.directive.cut == index + 1:
                frame = frame[: len(frame) // 2]
            yield frame
            if self.directive.duplicate == index + 1:
                yield frame
            if self._drop == index + 1:
                self._drop = None
                raise Dropped
            if self._stall == index + 1:
                self._stall = None
                await asyncio.sleep(self.directive.stall_s)
        if self._silent:
            await asyncio.Event().wait()

    async def _until_due(self, index: int) -> None:
        if self._steps is not None:
            await self._steps.until(self._first_step + index + 1)
            return
        wait_s = 0.0 if self._pace is None else self._started_at + index / self._pace - self.now()
        # What is late goes together: a turn for each frame would make a fast pace slower still.
        if wait_s > 0 or index % _FRAMES_PER_TURN == 0:
            await asyncio.sleep(max(wait_s, 0))

    def state(self, thread_id: str) -> dict[str, Any]:
        """The runtime's answer about the thread (its model ExecutionState)."""
        position = self.position()
        error = self.recording.errors[position - 1] if position else None
        status = "failed" if error is not None else "completed" if self.over else "running"
        return {
            "thread_id": thread_id,
            "status": status,
            "result": {"message": "Execution completed"} if status == "completed" else None,
            "generated_files": self.recording.files[position - 1] if position else None,
            "error": error,
        }
