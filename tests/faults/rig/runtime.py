"""The runtime of the campaign: it acts the persona that a job's prompt asks for, and records what happened.

    python -m tests.faults.rig.runtime

It prints `runtime ADDRESS`. `GET /truth/{thread}` gives what the hub may be held against: invokes, frames
sent on each connection, the run's files. `GET /release/{thread}` lets a run go on that the persona holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from server.encoding.frame_delta import frame_digest
from tests.faults.personas import Persona
from tests.faults.scripts import Script, digests_of, script
from tests.support.runtime import END, Answer, Disconnect, Runtime, Stream, serve_runtime, state_frame

#: How long the stream of an unknown thread, and a poller, show progress; and how often.
UNKNOWN_S, PROGRESS_S = 3.0, 0.2
_SLOW_S = 1.0


def _now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Job:
    """One job, with all executions of it."""

    persona: Persona
    invokes: int = 0
    started_at: float = 0.0
    #: The digests of the frames sent on each connection; progress is not counted.
    connections: list[list[str]] = field(default_factory=list)
    #: Set once the run is released.
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        """Go on with the next frame now."""
        if self.persona.holds and not self.released.is_set():
            self.started_at = _now() - self.persona.holds / self.persona.rate
        self.released.set()

    @property
    def script(self) -> Script:
        """What the newest execution sends."""
        return script(self.persona.script, max(self.invokes, 1))

    @property
    def count(self) -> int:
        """Frames that the newest execution will ever publish."""
        return self.persona.dies or len(self.script.frames)

    def position(self) -> int:
        """Frames published by now."""
        if not self.persona.rate:
            return self.count
        last = self.persona.holds if self.persona.holds and not self.released.is_set() else self.count
        return max(min(int((_now() - self.started_at) * self.persona.rate) + 1, last), 0)

    @property
    def over(self) -> bool:
        """Whether the newest execution ended properly."""
        return not self.persona.dies and self.position() >= self.count

    def state(self, thread_id: str) -> dict[str, Any] | None:
        """The answer about the thread, None for 404."""
        answer: dict[str, Any] = {"thread_id": thread_id, "result": None, "error": None}
        if self.persona.state == "unknown" or not self.invokes:
            return None
        if self.persona.state == "lies":
            done = {"message": "Execution completed"}
            return answer | {"status": "completed", "result": done, "generated_files": {}}
        position = self.position()
        answer["generated_files"] = self.script.maps[position - 1] if position else None
        if self.script.error is not None and position > self.script.error:
            return answer | {"status": "failed", "error": {"message": "scripted"}}
        return answer | {"status": "completed" if self.over else "running"}

    def truth(self) -> dict[str, Any]:
        """What really happened."""
        taken = min(self.count, len(self.script.frames))
        # A poller shows files in its state alone.
        hides_files = self.persona.kind == "poll" and self.persona.state != "honest"
        return {
            "invokes": self.invokes,
            "frames": self.script.digests[:taken],
            "connections": self.connections,
            "ends": self.script.ends,
            "files": {} if hides_files else digests_of(self.script.maps[taken - 1]),
        }


class PersonaRuntime(Runtime):
    """All jobs."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        #: Threads whose runs are not held any more.
        self._released: set[str] = set()
        #: The newest execution's job, by the id by which the runtime knows its thread.
        self.threads: dict[str, Job] = {}

    async def invoke(self, job: dict[str, Any]) -> Answer:
        job_id = job["job_id"]
        persona = Persona.of_prompt(job["agent_definition"].get("user_request", ""))
        if persona.invoke == "lost":
            raise Disconnect
        if persona.invoke == "error":
            return 500, {"detail": "scripted"}
        known = self.jobs.setdefault(job_id, Job(persona))
        known.invokes += 1
        known.started_at = _now()
        if job_id in self._released:
            known.released.set()
        thread_id = job_id if persona.ids == "job" else f"thread {known.invokes} of {job_id}"
        self.threads[thread_id] = known
        if persona.invoke == "slow":
            await asyncio.sleep(_SLOW_S)
        if persona.invoke == "taken" and known.invokes == 1:
            raise Disconnect
        return 200, {"thread_id": thread_id, "status": "started"}

    async def get(self, path: str) -> Answer:
        thread_id = unquote(path.rpartition("/")[2])
        if path.startswith("/release/"):
            self._released.add(thread_id)
            if thread_id in self.jobs:
                self.jobs[thread_id].release()
            return 200, {}
        if path.startswith("/truth/"):
            job = self.jobs.get(thread_id)
            return 200, job.truth() if job else {"invokes": 0, "frames": [], "connections": [], "files": {}}
        job = self.threads.get(thread_id)
        state = job.state(thread_id) if job else None
        return (404, {"detail": f"Thread {thread_id} not found"}) if state is None else (200, state)

    async def stream(self, stream: Stream) -> None:
        job = self.threads.get(unquote(stream.thread_id))
        sent: list[str] = []
        first = job is not None and not job.connections
        if job is not None:
            job.connections.append(sent)
            if job.persona.hang == "accept" and first:
                await stream.silence()
        await stream.accept()
        sender = _Sender(stream, sent)
        if job is None or not job.invokes:
            await sender.progress(UNKNOWN_S)
            await sender.give_up()
            return
        if job.persona.hang == "accepted" and first:
            await stream.silence()
        if job.persona.kind == "poll":
            await sender.poll(job)
        else:
            await sender.frames(job, first, connection=len(job.connections))


class _Sender:
    """Sends on one connection. `sent`: the digests of its frames."""

    def __init__(self, stream: Stream, sent: list[str]) -> None:
        self._stream, self._sent = stream, sent
        self._opened_at = _now()

    async def _send(self, frame: bytes | dict[str, Any]) -> None:
        data = frame if isinstance(frame, bytes) else json.dumps(frame, separators=(",", ":")).encode()
        self._sent.append(frame_digest(data).hex())
        await self._stream.send(data)

    async def progress(self, seconds: float) -> None:
        until = _now() + seconds
        while (left := until - _now()) > 0:
            text = f"Execution in progress... ({_now() - self._opened_at:.1f}s)"
            await self._stream.send(json.dumps(state_frame(messages=text, status="running")).encode())
            await asyncio.sleep(min(PROGRESS_S, left))

    async def give_up(self) -> None:
        data = {"error": "Execution timeout", "context": "streaming_timeout"}
        await self._send({"event_type": "error", "data": data})
        await self._send(END)

    async def poll(self, job: Job) -> None:
        while not job.over and job.persona.state != "lies":
            await self.progress(PROGRESS_S)
        done = "Execution completed"
        await self._send(state_frame(messages=done, files={}, result={"message": done}))
        await self._send(END)

    async def frames(self, job: Job, first: bool, *, connection: int) -> None:
        persona, frames, count = job.persona, job.script.frames, job.count
        start = 0
        if persona.kind == "live":
            start = job.position()
            if job.over:
                start = count - 1
                snapshot = job.script.snapshot(count)
                if snapshot is not None:
                    await self._send(snapshot)
        gives_up_at = self._opened_at + persona.timeout_s if persona.timeout_s else float("inf")
        for at, index in enumerate(range(start, count), 1):
            if persona.holds and index >= persona.holds:
                await job.released.wait()
            if persona.rate:
                due_at = job.started_at + index / persona.rate
                await asyncio.sleep(max(min(due_at, gives_up_at) - _now(), 0))
            if _now() >= gives_up_at:
                await self.give_up()
                return
            if persona.hang == "last" and index == len(frames) - 1:
                await self._stream.silence()
            if persona.hang == "mid" and first and at == persona.hang_at:
                await self._stream.send(frames[index], share=0.5)
                await self._stream.silence()
            await self._send(frames[index])
            if at == persona.cut and connection <= persona.cuts:
                await self._break(persona.how)
        if persona.dies or persona.stays:
            await self._stream.silence()

    async def _break(self, how: str) -> None:
        if how == "half":
            await self._stream.silence()
        if how == "1011":
            await self._stream.close(1011)
        elif how == "reset":
            await self._stream.reset()
        raise Disconnect


async def main() -> None:
    """Serve until killed."""
    async with serve_runtime(PersonaRuntime()) as address:
        print(f"runtime {address}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
