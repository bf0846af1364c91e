"""LangGraph's Agent Server as the runtime (ADR 0052).

A refinement's thread is a thread of the server with the job's id. The job is its first run, and each reply
begins another one: stream and state are those of the newest.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any

import httpx
from opentelemetry import trace
from opentelemetry.propagate import inject
from opentelemetry.trace import SpanKind

from server.agent_server.events import ServerEvents
from server.agent_server.forms import (
    ACTIVE,
    SUCCESS,
    ServerRun,
    ThreadState,
    newest_run_in,
    reason_of,
    reply_form,
    run_form,
    run_id_in,
    state_in,
    thread_status_in,
)
from server.agent_server.run_frames import BREAKPOINT, END, RunFrames, error_frame
from server.domain.errors import RuntimeRefused, RuntimeUnavailable
from server.domain.off_loop import RUNS, SMALL_BYTES
from server.domain.runs.replies import Reply
from server.domain.runs.runtime import (
    AdmitFrame,
    Frames,
    Invocation,
    RuntimeState,
    StreamClosed,
    admit_at_once,
)
from server.encoding.json_text import dump
from server.runtime.breaker import Breaker
from server.runtime.calls import MAX_ANSWER_BYTES, Answer, RuntimeCalls, checked_address
from server.runtime.client import MAX_FRAME_BYTES
from server.runtime.thread_ids import path_segment

#: The id before the first event of a run: everything is replayed.
_BEFORE_THE_FIRST = "-1"

_tracer = trace.get_tracer("ide_orchestrator")


class AgentServer:
    """A LangGraph server over HTTP. Implements `Runtime`; one per process.

    base_url: http or https; raises ValueError for another scheme. assistant: the name of a graph, or the id
    of an assistant. api_key: sent as `x-api-key`. The limits are as those of DeepagentsRuntime; the server
    sends a comment every few seconds, so silence for `quiet_s` ends a stream.
    """

    #: See `Runtime`.
    push_only = False
    can_resume = True
    can_cancel = True

    def __init__(
        self,
        base_url: str,
        assistant: str,
        *,
        api_key: str = "",
        connect_s: float = 4.0,
        read_s: float = 30.0,
        total_s: float = 60.0,
        quiet_s: float = 60.0,
        max_frame_bytes: int = MAX_FRAME_BYTES,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        breaker: Breaker | None = None,
        on_answer: Callable[[str, int | None], None] = lambda endpoint, status: None,
    ) -> None:
        scheme, rest = checked_address(base_url)
        self.breaker = breaker or Breaker(time.monotonic, name="langgraph-server")
        self._assistant = assistant
        self._total_s, self._connect_s, self._quiet_s = total_s, connect_s, quiet_s
        self._max_frame_bytes = max_frame_bytes
        self._calls = RuntimeCalls(
            f"{scheme}://{rest}",
            connect_s=connect_s,
            read_s=read_s,
            total_s=total_s,
            max_answer_bytes=max_answer_bytes,
            on_answer=on_answer,
            headers={"x-api-key": api_key} if api_key else {},
            secrets=(api_key,) if api_key else (),
        )

    async def __aenter__(self) -> AgentServer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections of calls. A stream is closed by its caller."""
        await self._calls.close()

    def check_available(self) -> None:
        """Raise RuntimeUnavailable while calls are refused without being tried."""
        self.breaker.check()

    async def invoke(self, invocation: Invocation) -> str:
        """Start the first run of a thread. Returns the job's id. Raises RuntimeUnavailable,
        RuntimeRefused."""
        thread_id = str(invocation.job_id)
        form = run_form(invocation, self._assistant)
        # With the files of a draft it may be large.
        body = dump(form) if invocation.draft is None else await RUNS.run(dump, form)
        ids = {"job_id": thread_id, "trace_id": str(invocation.trace_id)}
        with (
            self.breaker.attempt(),
            _tracer.start_as_current_span("langgraph_server.invoke", kind=SpanKind.CLIENT, attributes=ids),
        ):
            await self._start_run("invoke", thread_id, body, "the runtime refused the job with HTTP {}")
        return thread_id

    async def resume(self, thread_id: str, reply: Reply, invocation: Invocation) -> None:
        """Continue a run with a person's reply, as in `Runtime`. Raises as `invoke`."""
        body = dump(reply_form(invocation, self._assistant, reply))
        with self.breaker.attempt(thread_id):
            if await self._continues_with(thread_id, reply):
                return
            try:
                await self._start_run("resume", thread_id, body, "the runtime refused the reply with HTTP {}")
            except RuntimeRefused as refused:
                if refused.status != httpx.codes.CONFLICT:
                    raise
                if not await self._continues_with(thread_id, reply):
                    # The run that asked is about to end.
                    raise RuntimeUnavailable("the thread is busy", sent=False) from None

    async def cancel(self, thread_id: str) -> None:
        """Stop the run of a thread, as in `Runtime`. Raises as `invoke`."""
        with self.breaker.attempt(thread_id):
            run = await self._newest_run(thread_id)
            if run is None or run.status not in ACTIVE:
                return
            path = f"{_runs(thread_id)}/{path_segment(run.id)}/cancel?wait=false&action=interrupt"
            answer = await self._small("cancel", "POST", path)
            # It may have ended meanwhile.
            if not answer.ok and answer.status not in (httpx.codes.NOT_FOUND, httpx.codes.CONFLICT):
                raise self._calls.refusal("the runtime refused to cancel with HTTP {}", answer)

    async def state(self, thread_id: str) -> RuntimeState | None:
        """The state of the thread's newest run, None when the server does not know one. Raises as
        `invoke`."""
        with self.breaker.attempt(thread_id):
            run = await self._newest_run(thread_id)
            if run is None or run.status in ACTIVE:
                return None if run is None else RuntimeState("running")
            state = await self._thread_state(thread_id)
            if state is None:
                return None
            if run.status == SUCCESS:
                return RuntimeState("completed", state.files)
            return RuntimeState("failed", state.files, await self._reason(thread_id, run, state))

    @asynccontextmanager
    async def stream(self, thread_id: str, admit: AdmitFrame = admit_at_once) -> AsyncIterator[Frames]:
        """The frames of the thread's newest run from its first one on, as in `Runtime`."""
        async with AsyncExitStack() as stack:
            with self.breaker.attempt(thread_id):
                run = await self._newest_run(thread_id)
                if run is None:
                    raise RuntimeRefused("the runtime does not know the run", status=httpx.codes.NOT_FOUND)
                response = await self._opened(stack, f"{_runs(thread_id)}/{path_segment(run.id)}/stream")
            pieces = _pieces(response)
            stack.push_async_callback(pieces.aclose)
            events = ServerEvents(pieces, max_bytes=self._max_frame_bytes, admit=admit)

            async def ending(asked: bool) -> Sequence[bytes]:
                with self.breaker.attempt(thread_id):
                    return await self._ending(thread_id, run, asked=asked)

            yield RunFrames(events, ending)

    async def has_assistant(self) -> bool:
        """Whether the server has the graph or the assistant that is to run. Raises as `invoke`."""
        body = dump({"graph_id": self._assistant, "limit": 1})
        answer = await self._small("state", "POST", "/assistants/search", body)
        if not answer.ok:
            raise self._calls.refusal("the runtime answered with HTTP {}", answer)
        if answer.body.strip() != b"[]":
            return True
        return (await self._small("state", "GET", f"/assistants/{path_segment(self._assistant)}")).ok

    # --- Calls -----------------------------------------------------------------------------------

    async def _start_run(self, endpoint: str, thread_id: str, body: bytes, refusal: str) -> None:
        answer = await self._small(endpoint, "POST", _runs(thread_id), body)
        if not answer.ok:
            raise self._calls.refusal(refusal, answer)
        if run_id_in(answer.body) is None:
            raise RuntimeRefused("the runtime's answer has no run_id", status=answer.status)

    async def _continues_with(self, thread_id: str, reply: Reply) -> bool:
        """Whether the newest run of the thread is the one that the reply began."""
        run = await self._newest_run(thread_id)
        return run is not None and run.resume_id == str(reply.id)

    async def _newest_run(self, thread_id: str) -> ServerRun | None:
        path = f"{_runs(thread_id)}?limit=1&select=run_id&select=status&select=metadata"
        answer = await self._small("state", "GET", path)
        if answer.status == httpx.codes.NOT_FOUND:
            return None
        if not answer.ok:
            raise self._calls.refusal("the runtime answered about a run with HTTP {}", answer)
        try:
            return newest_run_in(answer.body)
        except ValueError:
            raise _unreadable(answer) from None

    async def _thread_state(self, thread_id: str) -> ThreadState | None:
        async with AsyncExitStack() as place:
            path = f"/threads/{path_segment(thread_id)}/state"
            answer = await self._calls.call("state", "GET", path, place=place)
            if answer.status == httpx.codes.NOT_FOUND:
                return None
            if not answer.ok:
                raise self._calls.refusal("the runtime answered about a run with HTTP {}", answer)
            large = len(answer.body) > SMALL_BYTES
            state = await RUNS.run(state_in, answer.body) if large else state_in(answer.body)
        if state is None:
            raise _unreadable(answer)
        return state

    async def _thread_status(self, thread_id: str) -> tuple[str, str]:
        """The thread's status and error, without its values, which may be large."""
        form: dict[str, Any] = {"metadata": {"job_id": thread_id}, "limit": 1}
        body = dump({**form, "select": ["thread_id", "status", "error"]})
        answer = await self._small("state", "POST", "/threads/search", body)
        return thread_status_in(answer.body) if answer.ok else ("", "")

    async def _small(self, endpoint: str, method: str, path: str, body: bytes | None = None) -> Answer:
        """An answer that is not kept."""
        async with AsyncExitStack() as place:
            return await self._calls.call(endpoint, method, path, body, place=place)

    # --- The stream ------------------------------------------------------------------------------

    async def _opened(self, stack: AsyncExitStack, path: str) -> httpx.Response:
        """The answer to a request for a stream, which `stack` closes."""
        headers = {"accept": "text/event-stream", "last-event-id": _BEFORE_THE_FIRST}
        inject(headers)
        timeout = httpx.Timeout(self._quiet_s, connect=self._connect_s)
        status: int | None = None
        request = self._calls.http.stream("GET", self._calls.base + path, headers=headers, timeout=timeout)
        try:
            async with asyncio.timeout(self._total_s):
                response = await stack.enter_async_context(request)
            status = response.status_code
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            raise RuntimeUnavailable("the runtime cannot be reached", sent=False) from None
        except (TimeoutError, httpx.TimeoutException):
            raise RuntimeUnavailable("the runtime did not open the stream in time") from None
        except httpx.HTTPError:
            raise RuntimeUnavailable("the connection to the runtime broke") from None
        finally:
            self._calls.on_answer("stream", status)
        if status != httpx.codes.OK:
            raise RuntimeRefused(f"the runtime refused the stream with HTTP {status}", status=status)
        return response

    async def _ending(self, thread_id: str, run: ServerRun, *, asked: bool) -> Sequence[bytes]:
        """The frames behind the last one of a run whose stream was closed. Raises StreamClosed."""
        now = await self._newest_run(thread_id)
        if now is None or now.id != run.id:
            raise StreamClosed("the runtime no longer knows the run")
        if now.status in ACTIVE:
            raise StreamClosed("the runtime closed its stream before the run was over")
        if now.status == SUCCESS:
            status = "" if asked else (await self._thread_status(thread_id))[0]
            return [BREAKPOINT, END] if status == "interrupted" else [END]
        state = await self._thread_state(thread_id)
        return [error_frame(await self._reason(thread_id, now, state)), END]

    async def _reason(self, thread_id: str, run: ServerRun, state: ThreadState | None) -> str:
        """Why a run failed."""
        if state is not None and state.error:
            return reason_of(run, state.error)
        return reason_of(run, (await self._thread_status(thread_id))[1])


def _runs(thread_id: str) -> str:
    return f"/threads/{path_segment(thread_id)}/runs"


def _unreadable(answer: Answer) -> RuntimeRefused:
    return RuntimeRefused("the runtime's answer about a run cannot be read", status=answer.status)


async def _pieces(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """What comes of a body. Raises StreamClosed."""
    try:
        async for piece in response.aiter_raw():
            yield piece
    except httpx.TimeoutException:
        raise StreamClosed("the runtime's stream was silent") from None
    except httpx.HTTPError:
        raise StreamClosed("the connection to the runtime broke") from None
