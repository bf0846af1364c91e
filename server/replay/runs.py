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


class Run:
    """A recording that plays from its creation, with or without subscribers."""

    def __init__(self, recording: Recording, directive: Directive, now: Callable[[], float]) -> None:
        self._recording = recording
        self._now = now
        self._started_at = now()
        self._pace = directive.speed * FRAMES_PER_SECOND if directive.speed else None
        self._drop = directive.drop
        #: Frames that are sent in total.
        self._count = len(recording.frames)
        self._silent = directive.silent is not None and directive.silent < self._count
        if directive.silent is not None:
            self._count = min(directive.silent, self._count)

    def position(self) -> int:
        """The number of frames that the agent has published so far."""
        if self._pace is None:
            return self._count
        return min(int((self._now() - self._started_at) * self._pace) + 1, self._count)

    async def frames(self) -> AsyncIterator[str]:
        """Every frame from the first, each at its time. Raises Dropped. Does not end for a silent run."""
        for index in range(self._count):
            if self._pace is not None:
                due_at = self._started_at + index / self._pace
                await asyncio.sleep(max(due_at - self._now(), 0))
            elif index % _FRAMES_PER_TURN == 0:
                await asyncio.sleep(0)
            yield self._recording.frames[index]
            if self._drop == index + 1:
                self._drop = None
                raise Dropped
        if self._silent:
            await asyncio.Event().wait()

    def state(self, thread_id: str) -> dict[str, Any]:
        """The runtime's answer about the thread (its model ExecutionState)."""
        position = self.position()
        error = self._recording.errors[position - 1]
        if error is not None:
            status = "failed"
        else:
            status = "completed" if position == self._count and not self._silent else "running"
        return {
            "thread_id": thread_id,
            "status": status,
            "result": {"message": "Execution completed"} if status == "completed" else None,
            "generated_files": self._recording.files[position - 1],
            "error": error,
        }
