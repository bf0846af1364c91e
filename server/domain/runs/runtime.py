"""The port to deepagents-runtime: its three calls, and what its frames mean."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from server.domain.journal.events import EventKind
from server.domain.proposals.files import File, FileSet


@dataclass(frozen=True, slots=True)
class Invocation:
    """A job for the runtime (seed: JobRequest). `agent_definition` is not empty. `traceparent`: the trace
    that it belongs to (W3C), empty for none; not part of the job."""

    trace_id: UUID
    job_id: UUID
    agent_definition: Mapping[str, Any]
    input_payload: Mapping[str, Any]
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class RuntimeState:
    """What the runtime says about a thread (seed: ExecutionState).

    status: the runtime's word, `running`, `completed` or `failed`. files: None when it told none.
    """

    status: str
    files: Mapping[str, File] | None = None
    error: str | None = None


class StreamClosed(Exception):
    """The runtime's stream ended without an `end` frame, or broke. `str(error)` says how."""


class Runtime(Protocol):
    """deepagents-runtime."""

    @property
    def push_only(self) -> bool:
        """Whether frames come over a channel without history, which tells `end` of every success
        and nothing of a failure: it is joined before the invoke, and silence says nothing (ADR 0013)."""
        ...

    def available(self) -> None:
        """Raise RuntimeUnavailable while calls are refused without being tried. Only a look."""
        ...

    async def invoke(self, invocation: Invocation) -> None:
        """Start a job. Not idempotent. Raises RuntimeUnavailable, RuntimeRefused."""
        ...

    async def state(self, thread_id: UUID) -> RuntimeState | None:
        """What the runtime knows of the thread, None if nothing. Raises as `invoke`."""
        ...

    def stream(self, thread_id: UUID) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The thread's frames, each as its bytes on the wire, until the runtime closes.

        Entering raises RuntimeUnavailable or RuntimeRefused; the iterator raises StreamClosed when
        the connection breaks, and stops when the runtime closes it properly.
        """
        ...


#: The context of the error by which the runtime's endpoint gives up while the run goes on.
ENDPOINT_TIMEOUT = "streaming_timeout"


@dataclass(frozen=True, slots=True)
class UpstreamError:
    """What an `error` frame says. `context`: the runtime's word for the place, may be empty."""

    message: str
    context: str


@dataclass(frozen=True, slots=True)
class Interpretation:
    """What one frame means. Total: every frame has at least one kind, or `progress`.

    kinds: the frame's events, in order. delta: belongs to the first of them.
    progress: the text of a progress heartbeat, which is not journalled (then `kinds` is empty).
    error: from an `error` frame. end: the frame is `end`.
    polled: the frame is a poller's closing summary, whose `completed` is not a verdict.
    """

    kinds: tuple[EventKind, ...] = ()
    delta: bytes = b""
    progress: str | None = None
    error: UpstreamError | None = None
    end: bool = False
    polled: bool = False


class FrameInterpreter(Protocol):
    """Frames of one run to events, in order. Never raises for any bytes."""

    @property
    def files(self) -> FileSet:
        """The files as of the last frame."""
        ...

    @property
    def awaiting_input(self) -> bool:
        """Whether the last state frame asked a person for input."""
        ...

    def interpret(self, frame: bytes) -> Interpretation:
        """What the next frame means. The terminal event of an `end` is the caller's to make."""
        ...

    def restore(self, kind: EventKind, delta: bytes) -> None:
        """Take in an event that was journalled before, in order, to go on behind it."""
        ...

    def adopt(self, files: Mapping[str, File]) -> tuple[EventKind, ...]:
        """Take files that came from the runtime's state answer; the events that tell the change."""
        ...
