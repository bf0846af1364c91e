"""The client of deepagents-runtime's three endpoints (DESIGN sections 3 and 5)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any
from uuid import UUID

import httpx
from opentelemetry import trace
from opentelemetry.propagate import inject
from opentelemetry.trace import Span, SpanKind
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from server.domain.errors import RuntimeRefused, RuntimeUnavailable
from server.domain.journal.frame_reconstruction import dump
from server.domain.proposals.files import File, NotAFile, parse_file
from server.domain.runs.runtime import Invocation, RuntimeState, StreamClosed
from server.runtime import jsontext
from server.runtime.breaker import Breaker

PREFIX = "/deepagents-runtime"

#: 16 MiB of frame and some room for what is around it.
MAX_FRAME_BYTES = (16 << 20) + (64 << 10)
MAX_ANSWER_BYTES = 32 << 20

_tracer = trace.get_tracer("ide_orchestrator")
_NORMAL_CLOSURE = 1000
_TOO_BIG = 1009

# The library logs each frame at DEBUG, and frames hold prompts and files.
_FRAME_LOG = logging.getLogger(f"{__name__}.frames")
_FRAME_LOG.setLevel(logging.WARNING)


class _Connect(connect):
    """Connects without following redirects: jobs go where the operator said, nowhere else."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Take a redirect for the refusal that it is here."""
        return exc


class _Frames:
    """The frames of an open connection. Ends at a proper close, raises StreamClosed at any other."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._connection.recv(decode=False)
        except ConnectionClosed as closed:
            received, sent = closed.rcvd, closed.sent
            if received is not None and received.code == _NORMAL_CLOSURE:
                raise StopAsyncIteration from None
            if sent is not None and sent.code == _TOO_BIG:
                raise StreamClosed("the runtime sent a frame that is too large") from None
            if received is not None:
                raise StreamClosed(f"the runtime closed its stream with code {received.code}") from None
            raise StreamClosed("the connection to the runtime broke") from None


class DeepagentsRuntime:
    """deepagents-runtime over HTTP and WebSocket. Implements `Runtime`; one per process.

    base_url: http or https, with or without the `/deepagents-runtime` suffix. Raises ValueError for
    another scheme. The limits are in seconds and bytes: `connect_s` for reaching the runtime,
    `read_s` between two pieces of an answer, `total_s` for a whole call, `handshake_s` for opening
    a stream, which a runtime that is busy with a run answers late. All calls go through `breaker`,
    of a stream its opening. `answered` is told each answer's endpoint and status, None for none.
    """

    #: See `Runtime`: a WebSocket may be joined after the invoke.
    push_only = False

    def __init__(
        self,
        base_url: str,
        *,
        connect_s: float = 5.0,
        read_s: float = 30.0,
        total_s: float = 60.0,
        handshake_s: float = 60.0,
        max_frame_bytes: int = MAX_FRAME_BYTES,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        breaker: Breaker | None = None,
        answered: Callable[[str, int | None], None] = lambda endpoint, status: None,
    ) -> None:
        scheme, separator, rest = base_url.partition("://")
        if scheme not in ("http", "https") or not separator or not rest.strip("/"):
            raise ValueError("the runtime's address must be an http or https URL")
        rest = rest.rstrip("/").removesuffix(PREFIX) + PREFIX
        self._base = f"{scheme}://{rest}"
        self._stream_base = f"{'wss' if scheme == 'https' else 'ws'}://{rest}"
        self.breaker = breaker or Breaker(time.monotonic)
        self._total_s = total_s
        self._answered = answered
        self._handshake_s = handshake_s
        self._max_frame_bytes = max_frame_bytes
        self._max_answer_bytes = max_answer_bytes
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(read_s, connect=connect_s),
            follow_redirects=False,
            trust_env=False,
            # Calls are rare. A kept connection that the runtime has closed meanwhile would make it
            # unclear whether a job was taken.
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
        """Close what is open for calls. Streams belong to those who opened them."""
        await self._client.aclose()

    def available(self) -> None:
        """Raise RuntimeUnavailable while calls are refused without being tried. Only looks."""
        self.breaker.look()

    async def invoke(self, invocation: Invocation) -> None:
        """Start a job (seed: JobRequest). Raises RuntimeUnavailable, RuntimeRefused."""
        with self.breaker.attempt():
            await self._invoke(invocation)

    async def _invoke(self, invocation: Invocation) -> None:
        ids = {"job_id": str(invocation.job_id), "trace_id": str(invocation.trace_id)}
        with _tracer.start_as_current_span(
            "deepagents_runtime.invoke", kind=SpanKind.CLIENT, attributes=ids
        ) as span:
            await self._send(invocation, span)

    async def _send(self, invocation: Invocation, span: Span) -> None:
        body = dump(
            {
                "trace_id": str(invocation.trace_id),
                "job_id": str(invocation.job_id),
                "agent_definition": invocation.agent_definition,
                "input_payload": invocation.input_payload,
            }
        )
        status, answer = await self._call("invoke", "POST", "/invoke", body)
        span.set_attribute("http.status_code", status)
        if not 200 <= status < 300:
            raise RuntimeRefused(f"the runtime refused the job with HTTP {status}", status=status)
        thread_id = jsontext.string((jsontext.members(answer) or {}).get("thread_id"))
        if thread_id != str(invocation.job_id):
            raise RuntimeRefused("the runtime answered for another thread than the job's", status=status)

    async def state(self, thread_id: UUID) -> RuntimeState | None:
        """What the runtime knows of the thread (seed: ExecutionState), None if nothing.

        Entries of its file map that are no files are left out. Raises as `invoke`.
        """
        with self.breaker.attempt():
            return await self._state(thread_id)

    async def _state(self, thread_id: UUID) -> RuntimeState | None:
        status, answer = await self._call("state", "GET", f"/state/{thread_id}")
        if status == httpx.codes.NOT_FOUND:
            return None
        if not 200 <= status < 300:
            raise RuntimeRefused(f"the runtime answered about a run with HTTP {status}", status=status)
        fields = jsontext.members(answer) or {}
        word = jsontext.string(fields.get("status"))
        if word is None:
            raise RuntimeRefused("the runtime's answer about a run cannot be read", status=status)
        error = fields.get("error", b"null")
        return RuntimeState(
            jsontext.shown(word, 100),
            _files(fields.get("generated_files", b"null")),
            None if error == b"null" else jsontext.message_of(error),
        )

    def stream(self, thread_id: UUID) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The thread's frames, each as its bytes on the wire."""
        return self._stream(f"{self._stream_base}/stream/{thread_id}")

    @asynccontextmanager
    async def _stream(self, url: str) -> AsyncIterator[AsyncIterator[bytes]]:
        with self.breaker.attempt():
            connection = await self._connected(url)
        async with connection:
            yield _Frames(connection)

    async def _connected(self, url: str) -> ClientConnection:
        status: int | None = None
        try:
            connection = await _Connect(
                url,
                proxy=None,
                compression=None,
                max_size=self._max_frame_bytes,
                open_timeout=self._handshake_s,
                # A runtime that is busy answers no ping for a whole run. Pings keep the way open;
                # silence is judged by whoever reads.
                ping_interval=20,
                ping_timeout=None,
                # Frames that nobody will read may stand before the answer to a close.
                close_timeout=0.2,
                logger=_FRAME_LOG,
            )
            status = connection.response.status_code if connection.response else None
            return connection
        except InvalidStatus as refused:
            status = refused.response.status_code
            raise RuntimeRefused(
                f"the runtime refused the stream with HTTP {status}", status=status
            ) from None
        except (InvalidHandshake, EOFError):
            raise RuntimeUnavailable("the runtime answers no stream at its address") from None
        except TimeoutError:
            raise RuntimeUnavailable("the runtime did not open the stream in time") from None
        except OSError:
            raise RuntimeUnavailable("the runtime cannot be reached", sent=False) from None
        finally:
            self._answered("stream", status)

    async def _call(
        self, endpoint: str, method: str, path: str, body: bytes | None = None
    ) -> tuple[int, bytes]:
        """The status and body of an answer. Raises RuntimeUnavailable; RuntimeRefused when too long."""
        headers = {"content-type": "application/json"} if body is not None else {}
        inject(headers)
        status: int | None = None
        try:
            async with (
                asyncio.timeout(self._total_s),
                self._client.stream(method, self._base + path, content=body, headers=headers) as response,
            ):
                status = response.status_code
                answer = bytearray()
                async for piece in response.aiter_raw():
                    answer += piece
                    if len(answer) > self._max_answer_bytes:
                        raise RuntimeRefused("the runtime's answer is too long", status=response.status_code)
                return response.status_code, bytes(answer)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            raise RuntimeUnavailable("the runtime cannot be reached", sent=False) from None
        except (TimeoutError, httpx.TimeoutException):
            raise RuntimeUnavailable("the runtime did not answer in time") from None
        except httpx.HTTPError:
            raise RuntimeUnavailable("the connection to the runtime broke") from None
        finally:
            self._answered(endpoint, status)


def _files(text: bytes) -> Mapping[str, File] | None:
    entries: dict[str, Any] | None = jsontext.members(text)
    if entries is None:
        return None
    files = {}
    for path, value in entries.items():
        try:
            files[path] = parse_file(jsontext.loaded(value))
        except NotAFile:
            continue
    return files
