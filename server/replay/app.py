"""A stand-in for deepagents-runtime: its endpoints, answered from recorded real runs.

It behaves as the real one does but for the model: the job's id is the thread's id, a run goes on
whether anyone listens, and each subscriber, a late one too, gets every frame from the first one. A
job whose id is running already starts again from the beginning.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from litestar import Litestar, Request, Response, WebSocket, get, post, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromPath

from server.replay.directives import BadDirective, find_directive
from server.replay.recording import Recording, read_recordings
from server.replay.runs import Dropped, Run

PREFIX = "/deepagents-runtime"

#: Runs that are remembered; the oldest are forgotten first.
_REMEMBERED_RUNS = 10_000
_INTERNAL_ERROR = 1011


class BadJob(ValueError):
    """A job that the runtime refuses; the text says why."""


class ReplayRuntime:
    """The runs of one replay runtime, by thread."""

    def __init__(
        self, directory: Path | None, default: str, *, unknown_thread_s: float, progress_s: float
    ) -> None:
        self._recordings = read_recordings(directory)
        self._default = default if default in self._recordings else next(iter(self._recordings))
        self._unknown_thread_s = unknown_thread_s
        self._progress_s = progress_s
        self._runs: dict[str, Run] = {}

    def invoke(self, job: object) -> str:
        """Start the run that a job asks for; its thread's id. Raises BadJob."""
        fields = _checked(job)
        try:
            directive = find_directive(fields["agent_definition"], fields["input_payload"])
        except BadDirective as error:
            raise BadJob(str(error)) from None
        recording = self._recording(directive.name or self._default)
        thread_id: str = fields["job_id"].strip()
        self._runs.pop(thread_id, None)
        self._runs[thread_id] = Run(recording, directive, asyncio.get_running_loop().time)
        while len(self._runs) > _REMEMBERED_RUNS:
            self._runs.pop(next(iter(self._runs)))
        return thread_id

    def _recording(self, name: str) -> Recording:
        try:
            return self._recordings[name]
        except KeyError:
            known = ", ".join(self._recordings)
            raise BadJob(f"there is no recording {name[:100]!r}; there are: {known}") from None

    def state(self, thread_id: str) -> dict[str, Any] | None:
        """What is known of a thread, None if nothing."""
        run = self._runs.get(thread_id)
        return None if run is None else run.state(thread_id)

    async def stream(self, thread_id: str, socket: WebSocket[Any, Any, Any]) -> None:
        """Send a thread's frames. Raises Dropped."""
        run = await self._awaited(thread_id, socket)
        if run is None:
            for frame in (
                {
                    "event_type": "error",
                    "data": {"error": "Execution timeout", "context": "streaming_timeout"},
                },
                {"event_type": "end", "data": {}},
            ):
                await socket.send_data(json.dumps(frame))
            return
        async for text in run.frames():
            await socket.send_data(text)

    async def _awaited(self, thread_id: str, socket: WebSocket[Any, Any, Any]) -> Run | None:
        """The thread's run; while there is none, signs of progress, and None in the end."""
        now = asyncio.get_running_loop().time
        opened_at = now()
        while thread_id not in self._runs:
            waited_s = now() - opened_at
            if waited_s >= self._unknown_thread_s:
                return None
            text = f"Execution in progress... ({waited_s:.1f}s)"
            frame = {"event_type": "on_state_update", "data": {"messages": text, "status": "running"}}
            await socket.send_data(json.dumps(frame))
            await asyncio.sleep(min(self._progress_s, self._unknown_thread_s))
        return self._runs[thread_id]


def _checked(job: object) -> dict[str, Any]:
    """The job's fields, as the runtime's own models check them. Raises BadJob."""
    if not isinstance(job, dict):
        raise BadJob("a job is a JSON object")
    for name in ("trace_id", "job_id"):
        if not isinstance(job.get(name), str) or not job[name].strip():
            raise BadJob(f"{name} is a string that is not blank")
    for name in ("agent_definition", "input_payload"):
        if not isinstance(job.get(name), dict) or not job[name]:
            raise BadJob(f"{name} is an object that is not empty")
    return job


def create_replay_app(
    directory: Path | None = None,
    *,
    default: str = "short_run",
    unknown_thread_s: float = 10.0,
    progress_s: float = 1.0,
) -> Litestar:
    """The ASGI app that serves the recordings of a directory (every `*.jsonl`), or the shipped ones.

    default: the recording for jobs that ask for none; where it is missing, the first by name.
    unknown_thread_s: how long a stream of an unknown thread shows progress before it gives up.
    progress_s: between two signs of progress. Raises FileNotFoundError for no recording.
    """
    runtime = ReplayRuntime(directory, default, unknown_thread_s=unknown_thread_s, progress_s=progress_s)

    @post(f"{PREFIX}/invoke")
    async def invoke(request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
        """Start a run."""
        try:
            thread_id = runtime.invoke(json.loads(await request.body()))
        except (BadJob, RecursionError, UnicodeDecodeError, json.JSONDecodeError) as error:
            detail = str(error) if isinstance(error, BadJob) else "the body is no JSON"
            return Response({"detail": detail}, status_code=422)
        return Response({"thread_id": thread_id, "status": "started"}, status_code=200)

    @get(f"{PREFIX}/state/{{thread_id:str}}")
    async def state(thread_id: FromPath[str]) -> Response[dict[str, Any]]:
        """Tell what is known of a thread."""
        found = runtime.state(thread_id)
        if found is None:
            return Response({"detail": f"Thread {thread_id} not found"}, status_code=404)
        return Response(found)

    @websocket(f"{PREFIX}/stream/{{thread_id:str}}")
    async def stream(socket: WebSocket[Any, Any, Any], thread_id: FromPath[str]) -> None:
        """Send a thread's frames, then close."""
        await socket.accept()
        sending = asyncio.ensure_future(runtime.stream(thread_id, socket))
        leaving = asyncio.ensure_future(_left(socket))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
                await socket.close(1000)
        except Dropped:
            await socket.close(_INTERNAL_ERROR)
        except (WebSocketDisconnect, OSError):
            return
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    @get("/health")
    async def health() -> dict[str, str]:
        """Say that the process lives."""
        return {"status": "healthy", "timestamp": _now()}

    @get("/ready")
    async def ready() -> dict[str, Any]:
        """Say that jobs can be taken."""
        return {"status": "ready", "services": {"recordings": True}, "timestamp": _now()}

    return Litestar([invoke, state, stream, health, ready], openapi_config=None, logging_config=None)


async def _left(socket: WebSocket[Any, Any, Any]) -> None:
    """Wait until the client is gone; what it sends is not read, as with the real runtime."""
    try:
        while True:
            await socket.receive_data(mode="text")
    except WebSocketDisconnect:
        return


def _now() -> str:
    return datetime.now(UTC).isoformat()
