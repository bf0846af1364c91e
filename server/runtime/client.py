"""The client of deepagents-runtime's endpoints: invoke, state and stream, and resume where the runtime has
it."""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import httpx
from opentelemetry import trace
from opentelemetry.propagate import inject
from opentelemetry.trace import SpanKind

from server.domain.errors import RuntimeRefused, RuntimeUnavailable
from server.domain.off_loop import RUNS, SMALL_BYTES
from server.domain.runs.replies import Reply
from server.domain.runs.runtime import AdmitFrame, Frames, Invocation, RuntimeState, admit_at_once
from server.encoding.json_text import dump
from server.frames import raw_json
from server.frames.file_maps import file_entries, state_files
from server.runtime.breaker import Breaker
from server.runtime.refusals import refusal_reason
from server.runtime.thread_ids import BadThreadId, path_segment, thread_id_in
from server.runtime.websocket import HandshakeRefused, NoWebSocket, open_websocket

PREFIX = "/deepagents-runtime"

#: A value of 16 MiB, and the frame around it.
MAX_FRAME_BYTES = (16 << 20) + (64 << 10)
MAX_ANSWER_BYTES = 32 << 20
#: Answers that are larger than SMALL_BYTES and are read at a time.
_LARGE_ANSWERS = 2

_tracer = trace.get_tracer("ide_orchestrator")
_SWITCHING_PROTOCOLS = 101


class _Answer(NamedTuple):
    status: int
    content_type: str
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


class DeepagentsRuntime:
    """deepagents-runtime over HTTP and WebSocket. Implements `Runtime`; one per process.

    base_url: http or https, with or without the `/deepagents-runtime` suffix. Raises ValueError for
    another scheme. The limits are in seconds and bytes: `connect_s` to find and reach the runtime, `read_s`
    between two pieces of an answer, `total_s` for a whole call, `handshake_s` to open a stream, which a
    runtime that is busy with a run does late. All calls and the opening of a stream go through `breaker`.
    `on_answer` is called with the endpoint and status of each answer, None when there is none.
    """

    #: See `Runtime`: a WebSocket can be joined after the invoke.
    push_only = False

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
        on_answer: Callable[[str, int | None], None] = lambda endpoint, status: None,
    ) -> None:
        scheme, separator, rest = base_url.partition("://")
        if scheme not in ("http", "https") or not separator or not rest.strip("/"):
            raise ValueError("the runtime's address must be an http or https URL")
        rest = rest.rstrip("/").removesuffix(PREFIX) + PREFIX
        self._base = f"{scheme}://{rest}"
        self._secrets = _secrets_of(base_url)
        self._stream_base = f"{'wss' if scheme == 'https' else 'ws'}://{rest}"
        self.breaker = breaker or Breaker(time.monotonic)
        #: See `Runtime`. The published runtime cannot.
        self.can_resume = can_resume
        self._total_s = total_s
        self._on_answer = on_answer
        self._handshake_s = handshake_s
        self._max_frame_bytes = max_frame_bytes
        self._max_answer_bytes = max_answer_bytes
        self._large_answers = asyncio.Semaphore(_LARGE_ANSWERS)
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(read_s, connect=connect_s),
            follow_redirects=False,
            trust_env=False,
            # Loading the CA certificates takes longer than a call, and http:// needs none.
            verify=scheme != "http",
            # Calls are rare. A kept connection that the runtime has closed meanwhile would make it
            # unclear whether a job was accepted.
            limits=httpx.Limits(max_keepalive_connections=0),
            headers={"accept": "application/json", "accept-encoding": "identity"},
        )

    async def __aenter__(self) -> DeepagentsRuntime:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections of calls. A stream is closed by its caller."""
        await self._client.aclose()

    def check_available(self) -> None:
        """Raise RuntimeUnavailable while calls are refused without being tried."""
        self.breaker.check()

    async def invoke(self, invocation: Invocation) -> str:
        """Start a job. Returns the thread's id. Raises RuntimeUnavailable, RuntimeRefused."""
        ids = {"job_id": str(invocation.job_id), "trace_id": str(invocation.trace_id)}
        form = {
            **ids,
            "agent_definition": invocation.agent_definition,
            "input_payload": invocation.input_payload,
        }
        # With the files of a draft it may be large.
        job = dump(form) if invocation.draft is None else await RUNS.run(dump, form)
        with self.breaker.attempt():
            with _tracer.start_as_current_span(
                "deepagents_runtime.invoke", kind=SpanKind.CLIENT, attributes=ids
            ) as span:
                async with AsyncExitStack() as place:
                    answer = await self._call("invoke", "POST", "/invoke", job, place=place)
                span.set_attribute("http.status_code", answer.status)
                if not answer.ok:
                    span.set_status(trace.StatusCode.ERROR, f"HTTP {answer.status}")
            # Raised outside the span, which would record the runtime's words.
            if not answer.ok:
                raise self._refusal("the runtime refused the job with HTTP {}", answer)
            try:
                return thread_id_in(answer.body)
            except BadThreadId as error:
                raise RuntimeRefused(
                    f"the runtime answered the job without a thread_id that can be used: {error}",
                    status=answer.status,
                ) from None

    async def resume(self, thread_id: str, reply: Reply) -> None:
        """Continue a run with a person's reply, as in `Runtime`. Raises as `invoke`."""
        form = {
            "thread_id": thread_id,
            "resume_id": str(reply.id),
            "interrupt_id": reply.input_id or None,
            "resume": reply.value,
        }
        async with AsyncExitStack() as place:
            with self.breaker.attempt(thread_id):
                answer = await self._call("resume", "POST", "/resume", dump(form), place=place)
        if not answer.ok:
            raise self._refusal("the runtime refused the reply with HTTP {}", answer)

    def _refusal(self, message: str, answer: _Answer) -> RuntimeRefused:
        reason = refusal_reason(answer.body, answer.content_type, self._secrets)
        return RuntimeRefused(message.format(answer.status), status=answer.status, reason=reason)

    async def state(self, thread_id: str) -> RuntimeState | None:
        """The state of the thread, None when the runtime does not know it.

        Entries of its file map that are not files are left out. Raises as `invoke`.
        """
        async with AsyncExitStack() as place:
            with self.breaker.attempt(thread_id):
                return await self._state(thread_id, place)

    async def _state(self, thread_id: str, place: AsyncExitStack) -> RuntimeState | None:
        answer = await self._call("state", "GET", f"/state/{path_segment(thread_id)}", place=place)
        if answer.status == httpx.codes.NOT_FOUND:
            return None
        if not answer.ok:
            raise self._refusal("the runtime answered about a run with HTTP {}", answer)
        large = len(answer.body) > SMALL_BYTES
        state = await RUNS.run(_state_in, answer.body) if large else _state_in(answer.body)
        if state is None:
            raise RuntimeRefused("the runtime's answer about a run cannot be read", status=answer.status)
        return state

    @asynccontextmanager
    async def stream(self, thread_id: str, admit: AdmitFrame = admit_at_once) -> AsyncIterator[Frames]:
        """The thread's frames, as in `Runtime`."""
        async with AsyncExitStack() as stack:
            with self.breaker.attempt(thread_id):
                frames = await self._opened(stack, thread_id, admit)
            yield frames

    async def _opened(self, stack: AsyncExitStack, thread_id: str, admit: AdmitFrame) -> Frames:
        """The frames of a new connection, which `stack` closes."""
        status: int | None = None
        connection = open_websocket(
            f"{self._stream_base}/stream/{path_segment(thread_id)}",
            handshake_s=self._handshake_s,
            max_frame_bytes=self._max_frame_bytes,
            admit=admit,
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

    async def _call(
        self, endpoint: str, method: str, path: str, body: bytes | None = None, *, place: AsyncExitStack
    ) -> _Answer:
        """The answer to a call. Raises RuntimeUnavailable; RuntimeRefused when it is too long.

        A large answer has one of a few places, until `place` ends.
        """
        headers = {"content-type": "application/json"} if body is not None else {}
        inject(headers)
        status: int | None = None
        try:
            async with (
                asyncio.timeout(self._total_s),
                self._client.stream(method, self._base + path, content=body, headers=headers) as response,
            ):
                status = response.status_code
                answer, small = bytearray(), True
                async for piece in response.aiter_raw():
                    answer += piece
                    if small and len(answer) > SMALL_BYTES:
                        small = False
                        await place.enter_async_context(self._large_answers)
                    if len(answer) > self._max_answer_bytes:
                        raise RuntimeRefused("the runtime's answer is too long", status=response.status_code)
                return _Answer(status, response.headers.get("content-type", ""), bytes(answer))
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            raise RuntimeUnavailable("the runtime cannot be reached", sent=False) from None
        except (TimeoutError, httpx.TimeoutException):
            raise RuntimeUnavailable("the runtime did not answer in time") from None
        except httpx.HTTPError:
            raise RuntimeUnavailable("the connection to the runtime broke") from None
        finally:
            self._on_answer(endpoint, status)


def _secrets_of(base_url: str) -> list[str]:
    """What the hub sends to prove who it is, in each form in which an answer may repeat it."""
    address = urlsplit(base_url)
    if not address.password:
        return []
    user, password = unquote(address.username or ""), unquote(address.password)
    return [address.password, password, b64encode(f"{user}:{password}".encode()).decode()]


def _state_in(answer: bytes) -> RuntimeState | None:
    """The state in an answer; None when it has none."""
    fields = raw_json.members(answer) or {}
    word = raw_json.string(fields.get("status"))
    if word is None:
        return None
    error = fields.get("error", b"null")
    entries = file_entries(fields.get("generated_files", b"null"))
    return RuntimeState(
        raw_json.printable(word, 100),
        None if entries is None else state_files(entries),
        None if error == b"null" else raw_json.error_message(error),
    )
