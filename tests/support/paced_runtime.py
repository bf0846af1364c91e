"""A runtime that sends a recording as far as the test lets it: a run that has not ended goes on."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support.recordings import frames
from tests.support.runtime import Answer, Runtime, Stream


class PacedRuntime(Runtime):
    """Sends the frames of a recording as far as they were released, to each stream from the first.

    share: of the frames, that is released from the beginning. connections: streams so far.
    """

    def __init__(self, recording: str, share: float = 0.0) -> None:
        self._frames = frames(recording)
        self._released = 0
        self._more = asyncio.Event()
        self.connections = 0
        self.release(share)

    def release(self, share: float) -> None:
        """Release the frames up to this share of them, from 0 to 1."""
        self.release_first(int(len(self._frames) * share))

    def release_first(self, count: int) -> None:
        """Release so many frames."""
        self._released = count
        self._more.set()

    async def state(self, thread_id: str) -> Answer:
        running: dict[str, Any] = {"status": "running", "generated_files": None}
        return (200, running) if self._released < len(self._frames) else await super().state(thread_id)

    async def stream(self, stream: Stream) -> None:
        await stream.accept()
        self.connections += 1
        for number, frame in enumerate(self._frames):
            while number >= self._released:
                self._more.clear()
                await self._more.wait()
            await stream.send(frame)
