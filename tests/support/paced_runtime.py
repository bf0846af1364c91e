"""A runtime that sends a recording as far as the test lets it: a run that has not ended goes on."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import unquote

from tests.support.recordings import frames
from tests.support.runtime import Answer, Runtime, Stream


class PacedRuntime(Runtime):
    """Sends the frames of a recording as far as they were released, to each stream from the first.

    share: of the frames, that is released from the beginning. thread_id: that the runtime chooses, if not the
    job's. connections: streams so far.
    """

    def __init__(self, recording: str, share: float = 0.0, *, thread_id: str = "") -> None:
        self._frames, self._thread_id = frames(recording), thread_id
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

    async def invoke(self, job: dict[str, Any]) -> Answer:
        return await super().invoke(job | {"job_id": self._thread_id or job["job_id"]})

    async def state(self, thread_id: str) -> Answer:
        running: dict[str, Any] = {"status": "running", "generated_files": None}
        return (200, running) if self._released < len(self._frames) else await super().state(thread_id)

    async def stream(self, stream: Stream) -> None:
        if self._thread_id and unquote(stream.thread_id) != self._thread_id:
            await stream.refuse(404)
        await stream.accept()
        self.connections += 1
        for number, frame in enumerate(self._frames):
            while number >= self._released:
                self._more.clear()
                await self._more.wait()
            await stream.send(frame)
