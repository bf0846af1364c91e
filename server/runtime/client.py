"""The client of deepagents-runtime's endpoints: invoke, state and stream, and resume where the runtime has
it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from server.domain.errors import RuntimeRefused, RuntimeUnavailable
from server.domain.off_loop import RUNS
from server.domain.runs.replies import Reply
from server.domain.runs.runtime import (
    READER_ALONE,
    AdmitFrame,
    FrameReceiver,
    Frames,
    Invocation,
    RuntimeState,
    admit_at_once,
)
from server.encoding.json_object import JsonObject
from server.encoding.json_text import dump
from server.frames import raw_json
from server.frames.file_maps import state_files
from server.runtime.breaker import Breaker
from server.runtime.calls import MAX_ANSWER_BYTES, RuntimeCalls, checked_address
from server.runtime.http_runtime import HttpRuntime
from server.runtime.socket_reader import ReadBuffers
from server.runtime.thread_ids import BadThreadId, path_segment, thread_id_in
from server.runtime.websocket import FindMessages, whole_messages
from server.runtime.websocket_handshake import HandshakeRefused, NoWebSocket, open_websocket

PREFIX = "/deepagents-runtime"

#: A value of 16 MiB, and the frame around it.
MAX_FRAME_BYTES = (16 << 20) + (64 << 10)

_tracer = trace.get_tracer("ide_orchestrator")
_SWITCHING_PROTOCOLS = 101


class DeepagentsRuntime(HttpRuntime):
    """deepagents-runtime over HTTP and WebSocket. Implements `Runtime`; one per process.

    base_url: http or https, with or without the `/deepagents-runtime` suffix. Raises ValueError for
    another scheme. The limits are in seconds and bytes: `connect_s` to find and reach the runtime, `read_s`
    between two pieces of an answer, `total_s` for a whole call, `handshake_s` to open a stream, which a
    runtime that is busy with a run does late. All calls and the opening of a stream go through `breaker`.
    `on_answer` is called with the endpoint and status of each answer, None when there is none.
    """

    #: See `Runtime`: a WebSocket can be joined after the invoke.
    push_only = False
    #: It has no such call: a run that the hub gives up goes on there.
    can_cancel = False

    def __init__(
        self,
        base_url: str,
        *,
        connect_s: float = 4.0,
        read_s: float = 30.0,
        total_s: float = 60.0,
        handshake_s: float = 60.0,
        max_frame_bytes: int = MAX_FRAME_BYTES,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        breaker: Breaker | None = None,
        can_resume: bool = False,
        find_messages: FindMessages = whole_messages,
        on_answer: Callable[[str, int | None], None] = lambda endpoint, status: None,
    ) -> None:
        scheme, rest = checked_address(base_url)
        rest = rest.removesuffix(PREFIX) + PREFIX
        self._stream_base = f"{'wss' if scheme == 'https' else 'ws'}://{rest}"
        #: See `Runtime`. The published runtime cannot.
        self.can_resume = can_resume
        self._on_answer = on_answer
        self._handshake_s = handshake_s
        self._max_frame_bytes = max_frame_bytes
        self._find_messages = find_messages
        #: Of all streams: those of one process are read by one event loop.
        self._read_buffers = ReadBuffers()
        calls = RuntimeCalls(
            f"{scheme}://{rest}",
            connect_s=connect_s,
            read_s=read_s,
            total_s=total_s,
            max_answer_bytes=max_answer_bytes,
            on_answer=on_answer,
        )
        super().__init__(calls, breaker or Breaker(time.monotonic))

    async def invoke(self, invocation: Invocation) -> str:
        """Start a job. Returns the thread's id. Raises RuntimeUnavailable, RuntimeRefused."""
        ids = {"job_id": str(invocation.job_id), "trace_id": str(invocation.trace_id)}
        form = {
            **ids,
            "agent_definition": invocation.agent_definition,
            "input_payload": invocation.input_payload,
        }
        # With the files of a draft it may be large.
        job = _text_of(form) if invocation.draft is None else await RUNS.run(_text_of, form)
        async with AsyncExitStack() as place:
            with self.breaker.attempt():
                with _tracer.start_as_current_span(
                    "deepagents_runtime.invoke", kind=SpanKind.CLIENT, attributes=ids
                ) as span:
                    answer = await self._calls.call("invoke", "POST", "/invoke", job, place=place)
                    span.set_attribute("http.status_code", answer.status)
                    if not answer.ok:
                        span.set_status(trace.StatusCode.ERROR, f"HTTP {answer.status}")
                # Raised outside the span, which would record the runtime's words.
                if not answer.ok:
                    raise self._calls.refusal("the runtime refused the job with HTTP {}", answer)
                try:
                    return await self._calls.read(answer, thread_id_in)
                except BadThreadId as error:
                    raise RuntimeRefused(
                        f"the runtime answered the job without a thread_id that can be used: {error}",
                        status=answer.status,
                    ) from None

    async def cancel(self, thread_id: str) -> None:
        """Do nothing: see `can_cancel`."""

    async def resume(self, thread_id: str, reply: Reply, invocation: Invocation) -> None:
        """Continue a run with a person's reply, as in `Runtime`. Raises as `invoke`."""
        form = {
            "thread_id": thread_id,
            "resume_id": str(reply.id),
            "interrupt_id": reply.input_id or None,
            "resume": reply.value,
        }
        async with AsyncExitStack() as place:
            with self.breaker.attempt(thread_id):
                answer = await self._calls.call("resume", "POST", "/resume", dump(form), place=place)
        if not answer.ok:
            raise self._calls.refusal("the runtime refused the reply with HTTP {}", answer)

    async def state(self, thread_id: str, admit: AdmitFrame = admit_at_once) -> RuntimeState | None:
        """The state of the thread, as in `Runtime`. Raises as `invoke`."""
        async with AsyncExitStack() as place:
            with self.breaker.attempt(thread_id):
                return await self._state(thread_id, admit, place)

    async def _state(self, thread_id: str, admit: AdmitFrame, place: AsyncExitStack) -> RuntimeState | None:
        answer = await self._calls.call("state", "GET", f"/state/{path_segment(thread_id)}", place=place)
        if answer.status == httpx.codes.NOT_FOUND:
            return None
        if not answer.ok:
            raise self._calls.refusal("the runtime answered about a run with HTTP {}", answer)
        state = await self._calls.read(answer, _state_in, admit)
        if state is None:
            raise RuntimeRefused("the runtime's answer about a run cannot be read", status=answer.status)
        return state

    @asynccontextmanager
    async def stream(self, thread_id: str, receiver: FrameReceiver = READER_ALONE) -> AsyncIterator[Frames]:
        """The thread's frames, as in `Runtime`."""
        async with AsyncExitStack() as stack:
            with self.breaker.attempt(thread_id):
                frames = await self._opened(stack, thread_id, receiver)
            yield frames

    async def _opened(self, stack: AsyncExitStack, thread_id: str, receiver: FrameReceiver) -> Frames:
        """The frames of a new connection, which `stack` closes."""
        status: int | None = None
        connection = open_websocket(
            f"{self._stream_base}/stream/{path_segment(thread_id)}",
            handshake_s=self._handshake_s,
            max_frame_bytes=self._max_frame_bytes,
            buffers=self._read_buffers,
            receiver=receiver,
            find=self._find_messages,
            tls=self._calls.tls,
        )
        try:
            frames = await stack.enter_async_context(connection)
            status = _SWITCHING_PROTOCOLS
            return frames
        except HandshakeRefused as refused:
            status = refused.status
            raise RuntimeRefused(
                f"the runtime refused the stream with HTTP {status}", status=status
            ) from None
        except NoWebSocket:
            raise RuntimeUnavailable("the runtime answers no stream at its address") from None
        except TimeoutError:
            raise RuntimeUnavailable("the runtime did not open the stream in time") from None
        except OSError:
            raise RuntimeUnavailable("the runtime cannot be reached", sent=False) from None
        finally:
            self._on_answer("stream", status)


def _text_of(form: Mapping[str, Any]) -> bytes:
    return JsonObject.of(form).text.encode()


def _state_in(answer: bytes) -> RuntimeState | None:
    """The state in an answer; None when it has none."""
    fields: Mapping[str, raw_json.Text] = raw_json.views(answer) or raw_json.members(answer) or {}
    word = raw_json.string(bytes(fields.get("status", b"")))
    if word is None:
        return None
    error = bytes(fields.get("error", b"null"))
    return RuntimeState(
        raw_json.printable(word, 100),
        state_files(fields.get("generated_files", b"null")),
        None if error == b"null" else raw_json.error_message(error),
    )
