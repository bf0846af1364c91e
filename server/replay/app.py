"""A substitute for deepagents-runtime: its endpoints, which answer from recordings of real runs.

It behaves like the real one, but has no model. The job's id is the thread's id, unless it chooses
ids; a run continues without subscribers, and each subscriber gets every frame from the first one. A job with
the id of an active run starts that run again, or another one when ids are chosen.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from litestar import Litestar, Request, Response, WebSocket, get, post, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromPath

from server.replay.directives import BadDirective, Directive, find_directive
from server.replay.recording import Recording, RecordingError, read_recordings
from server.replay.runs import Dropped, Run, Steps

PREFIX = "/deepagents-runtime"

#: Maximum number of runs; the oldest ones are forgotten.
_MAX_RUNS = 10_000
_INTERNAL_ERROR = 1011
#: The recording of jobs without a directive, where there is one of the name.
USUAL = "short_run"


class BadJob(ValueError):
    """The runtime refuses the job, or the reply. The text says why."""


class UnknownThread(LookupError):
    """There is no such thread. The text says so."""


class NotWaiting(Exception):
    """The run does not wait for a reply. The text says so."""


class ReplayRuntime:
    """The runs of one replay runtime, by thread id."""

    def __init__(
        self,
        recordings: Mapping[str, Recording],
        default: str | None,
        *,
        unknown_thread_s: float,
        progress_s: float,
        chooses_ids: bool,
        directive: Directive,
        steps: Steps | None,
    ) -> None:
        self._recordings = recordings
        self._default = _default(self._recordings, default)
        self._directive, self._steps = directive, steps
        self._unknown_thread_s = unknown_thread_s
        self._progress_s = progress_s
        self._chooses_ids = chooses_ids
        self._runs: dict[str, Run] = {}

    def invoke(self, job: object) -> str:
        """Start the run of a job. Returns its thread's id. Raises BadJob."""
        fields = _job_fields(job)
        try:
            directive = find_directive(fields["agent_definition"], fields["input_payload"], self._directive)
        except BadDirective as error:
            raise BadJob(str(error)) from None
        recording = self._recording(directive.name or self._default)
        # With a space and a letter beyond ASCII: an address needs it encoded.
        thread_id: str = f"thread é {uuid4().hex[:12]}" if self._chooses_ids else fields["job_id"].strip()
        self._runs.pop(thread_id, None)
        self._runs[thread_id] = Run(recording, directive, asyncio.get_running_loop().time, steps=self._steps)
        while len(self._runs) > _MAX_RUNS:
            self._runs.pop(next(iter(self._runs)))
        return thread_id

    def resume(self, reply: object) -> str:
        """Continue the run of a thread with a person's reply, whatever that says: once for each `resume_id`.
        Returns the thread's id. Raises BadJob, UnknownThread; NotWaiting for a run that does not wait for a
        reply.
        """
        if not isinstance(reply, dict) or "resume" not in reply:
            raise BadJob("a reply must be a JSON object with the member resume")
        thread_id, resume_id = reply.get("thread_id"), reply.get("resume_id")
        if not isinstance(thread_id, str) or not isinstance(resume_id, str):
            raise BadJob("thread_id and resume_id must be strings")
        run = self._runs.get(thread_id)
        if run is None:
            raise UnknownThread(f"Thread {thread_id} not found")
        if run.resume_id != resume_id:
            continuation = self._recordings.get(run.recording.continuation)
            if continuation is None or not run.over:
                raise NotWaiting("the run does not wait for a reply")
            self._runs[thread_id] = Run(
                continuation,
                run.directive.without_faults(),
                run.now,
                resume_id=resume_id,
                steps=self._steps,
            )
        return thread_id

    def _recording(self, name: str) -> Recording:
        try:
            return self._recordings[name]
        except KeyError:
            known = ", ".join(self._recordings)
            raise BadJob(f"there is no recording {name[:100]!r}; there are: {known}") from None

    def state(self, thread_id: str) -> dict[str, Any] | None:
        """The state of a thread; None when it is unknown."""
        run = self._runs.get(thread_id)
        return None if run is None else run.state(thread_id)

    async def stream(self, thread_id: str, socket: WebSocket[Any, Any, Any]) -> None:
        """Send a thread's frames. Raises Dropped."""
        run = await self._wait_for_run(thread_id, socket)
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

    async def _wait_for_run(self, thread_id: str, socket: WebSocket[Any, Any, Any]) -> Run | None:
        """The thread's run. Sends progress until the run starts. None when it does not start in time."""
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


#: What is wrong with a body.
_UNREADABLE = (BadJob, RecursionError, UnicodeDecodeError, json.JSONDecodeError)


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, BadJob) else "the body is not JSON"


def _default(recordings: Mapping[str, Recording], named: str | None) -> str:
    """The name of the recording of jobs without a directive. Raises RecordingError."""
    if named is None:
        return USUAL if USUAL in recordings else next(iter(recordings))
    if named not in recordings:
        raise RecordingError(f"there is no recording {named[:100]!r}; there are: {', '.join(recordings)}")
    return named


def _job_fields(job: object) -> dict[str, Any]:
    """The job's fields, validated as by the runtime's models. Raises BadJob."""
    if not isinstance(job, dict):
        raise BadJob("a job must be a JSON object")
    for name in ("trace_id", "job_id"):
        if not isinstance(job.get(name), str) or not job[name].strip():
            raise BadJob(f"{name} must be a string that is not blank")
    for name in ("agent_definition", "input_payload"):
        if not isinstance(job.get(name), dict) or not job[name]:
            raise BadJob(f"{name} must be an object that is not empty")
    return job


def create_replay_app(
    directory: Path | None = None,
    *,
    default: str | None = None,
    unknown_thread_s: float = 10.0,
    progress_s: float = 1.0,
    chooses_ids: bool = False,
    recordings: Mapping[str, Recording] | None = None,
    directive: Directive = Directive(),  # noqa: B008 (frozen)
    steps: Steps | None = None,
) -> Litestar:
    """The ASGI app that serves the recordings of a directory (see `read_recordings`), or the shipped ones.

    default: the recording of jobs without a directive; None: `short_run`, or the first by name without it.
    unknown_thread_s: seconds for which a stream of an unknown thread shows progress before it fails.
    progress_s: seconds between two messages of progress. chooses_ids: whether a thread gets an id of the
    runtime's own instead of its job's. recordings: those that are served instead of a directory's. directive:
    how jobs without one are played. steps: what lets runs go on, frame by frame. Raises RecordingError
    without a recording, or without the default.
    """
    runtime = ReplayRuntime(
        read_recordings(directory) if recordings is None else recordings,
        default,
        unknown_thread_s=unknown_thread_s,
        progress_s=progress_s,
        chooses_ids=chooses_ids,
        directive=directive,
        steps=steps,
    )

    @post(f"{PREFIX}/invoke")
    async def invoke(request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
        """Start a run."""
        try:
            thread_id = runtime.invoke(json.loads(await request.body()))
        except _UNREADABLE as error:
            return Response({"detail": _why(error)}, status_code=422)
        return Response({"thread_id": thread_id, "status": "started"}, status_code=200)

    @post(f"{PREFIX}/resume")
    async def resume(request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
        """Continue a run with a person's reply."""
        try:
            thread_id = runtime.resume(json.loads(await request.body()))
        except UnknownThread as error:
            return Response({"detail": str(error)}, status_code=404)
        except NotWaiting as error:
            return Response({"detail": str(error)}, status_code=409)
        except _UNREADABLE as error:
            return Response({"detail": _why(error)}, status_code=422)
        return Response({"thread_id": thread_id, "status": "started"}, status_code=200)

    @get(f"{PREFIX}/state/{{thread_id:str}}")
    async def state(thread_id: FromPath[str]) -> Response[dict[str, Any]]:
        """Report the state of a thread."""
        found = runtime.state(thread_id)
        if found is None:
            return Response({"detail": f"Thread {thread_id} not found"}, status_code=404)
        return Response(found)

    @websocket(f"{PREFIX}/stream/{{thread_id:str}}")
    async def stream(socket: WebSocket[Any, Any, Any], thread_id: FromPath[str]) -> None:
        """Send a thread's frames, then close the WebSocket."""
        await socket.accept()
        await _send_frames(runtime, thread_id, socket)

    @get("/health")
    async def health() -> dict[str, str]:
        """Report that the process is alive."""
        return {"status": "healthy", "timestamp": _now()}

    @get("/ready")
    async def ready() -> dict[str, Any]:
        """Report that jobs are accepted."""
        return {"status": "ready", "services": {"recordings": True}, "timestamp": _now()}

    return Litestar([invoke, resume, state, stream, health, ready], openapi_config=None, logging_config=None)


async def _send_frames(runtime: ReplayRuntime, thread_id: str, socket: WebSocket[Any, Any, Any]) -> None:
    """Send a thread's frames and close the WebSocket, unless the client disconnects first."""
    sending = asyncio.ensure_future(runtime.stream(thread_id, socket))
    leaving = asyncio.ensure_future(_disconnected(socket))
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


async def _disconnected(socket: WebSocket[Any, Any, Any]) -> None:
    """Wait until the client disconnects. Its messages are ignored, as by the real runtime."""
    try:
        while True:
            await socket.receive_data(mode="text")
    except WebSocketDisconnect:
        return


def _now() -> str:
    return datetime.now(UTC).isoformat()
