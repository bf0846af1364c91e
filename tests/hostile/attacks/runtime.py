"""The runtime of the attacked hub, as a process: `python -m tests.hostile.attacks.runtime NAME…`.

It replays recordings as the replay runtime does, and takes the same directives. What takes long is done
before it serves: a frame of 16 MiB of one user's run must cost the hub time, and not the runtime, for which
another user's run would wait.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from typing import Any

from websockets.exceptions import InvalidState

from server.replay.directives import find_directive
from server.replay.recording import Recording, read_recordings
from server.replay.runs import Run
from tests.hostile.attacks.answers import ANSWERS, Harm
from tests.hostile.attacks.recordings import OPEN_RUNS, frames_of
from tests.support.runtime import Answer, Runtime, Stream, serve_runtime

#: A frame longer than this is sent alone, and then others get a turn.
_LONG = 1 << 16


class RecordedRuntime(Runtime):
    """Plays the shipped recordings, and those of the tests as fast as the hub takes them."""

    def __init__(self, own: Mapping[str, list[bytes]], harm: Mapping[str, Harm]) -> None:
        self._own, self._harm = own, harm
        self._shipped = read_recordings()
        for recording in self._shipped.values():
            # They are computed when they are first read.
            assert len(recording.files) == len(recording.errors)
        #: By their threads.
        self.runs: dict[str, Run | Harm | list[bytes]] = {}
        self._open = [frames for name, frames in own.items() if name in OPEN_RUNS]
        self._ended: set[str] = set()

    async def invoke(self, job: dict[str, Any]) -> Answer:
        """Start what the job's directive names."""
        directive = find_directive(job["agent_definition"], job["input_payload"])
        name = directive.name or "short_run"
        thread_id: str = job["job_id"]
        harm = self._harm.get(name)
        if harm is not None:
            self.runs[thread_id] = harm
            return 200, harm.to_job or {"thread_id": thread_id, "status": "started"}
        recording: Recording | None = self._shipped.get(name)
        self.runs[thread_id] = (
            self._own[name]
            if recording is None
            else Run(recording, directive, asyncio.get_running_loop().time)
        )
        return 200, {"thread_id": thread_id, "status": "started"}

    async def state(self, thread_id: str) -> Answer:
        """How the run stands; the files of large runs came with their frames."""
        run = self.runs.get(thread_id)
        if isinstance(run, Run):
            return 200, run.state(thread_id)
        if isinstance(run, Harm) and run.state:
            return 200, run.state
        status = "completed" if thread_id in self._ended else "running"
        fields = dict.fromkeys(("result", "generated_files", "error"))
        return (
            (404, {"detail": "unknown"})
            if run is None
            else (200, {"thread_id": thread_id, "status": status, **fields})
        )

    async def stream(self, stream: Stream) -> None:
        """Send the frames."""
        run = self.runs.get(stream.thread_id)
        if run is None:
            await stream.refuse(404)
            return
        await stream.accept()
        if isinstance(run, Harm):
            if run.first:
                await stream.send_raw(run.first)
                await stream.silence()
            while run.piece:
                await stream.send_raw(run.piece)
            return
        if isinstance(run, Run):
            async for text in run.frames():
                await stream.send(text.encode())
            return
        for number, frame in enumerate(run):
            try:
                await stream.send(frame)
            except InvalidState:
                return  # the hub has closed it
            if number % 64 == 0 or len(frame) > _LONG:
                await asyncio.sleep(0)
        if any(run is each for each in self._open):
            await stream.silence()
        self._ended.add(stream.thread_id)


async def serve(names: list[str]) -> None:
    """Print the address, and serve until the process is ended."""
    own = {name: frames_of(name) for name in names if name not in ANSWERS}
    harm = {name: ANSWERS[name]() for name in names if name in ANSWERS}
    async with serve_runtime(RecordedRuntime(own, harm)) as address:
        print(f"runtime {address}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1:]))
