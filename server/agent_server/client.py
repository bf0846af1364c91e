"""LangGraph's Agent Server as the runtime (ADR 0052).

A refinement's thread is a thread of the server with the job's id. The job is its first run, and each reply
begins another one: stream and state are those of the newest.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from server.agent_server.forms import ACTIVE, SUCCESS, ServerRun, reply_form, run_form, run_id_in
from server.agent_server.repeats import Repeats
from server.agent_server.run_frames import BREAKPOINT, END, RunFrames, error_frame
from server.agent_server.run_stream import LARGE_RECALLS, RunStream, StreamLimits
from server.agent_server.threads import Threads, runs_path
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
    StreamClosed,
    admit_at_once,
)
from server.encoding.json_text import dump
from server.runtime.breaker import Breaker
from server.runtime.calls import MAX_ANSWER_BYTES, Answer, RuntimeCalls, checked_address
from server.runtime.client import MAX_FRAME_BYTES
from server.runtime.http_runtime import HttpRuntime
from server.runtime.thread_ids import path_segment

_tracer = trace.get_tracer("ide_orchestrator")


class AgentServer(HttpRuntime):
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
        self._assistant = assistant
        self._stream_limits = StreamLimits(connect_s, total_s, quiet_s, max_frame_bytes)
        calls = RuntimeCalls(
            f"{scheme}://{rest}",
            connect_s=connect_s,
            read_s=read_s,
            total_s=total_s,
            max_answer_bytes=max_answer_bytes,
            on_answer=on_answer,
            headers={"x-api-key": api_key} if api_key else {},
            secrets=(api_key,) if api_key else (),
        )
        super().__init__(calls, breaker or Breaker(time.monotonic, name="langgraph-server"))
        self._threads = Threads(calls)
        self._large_recalls = asyncio.Semaphore(LARGE_RECALLS)

    async def invoke(self, invocation: Invocation) -> str:
        """Start the first run of a thread. Returns the job's id. Raises RuntimeUnavailable,
        RuntimeRefused."""
        thread_id = str(invocation.job_id)
        # With the files of a draft it may be large.
        body = (
            run_form(invocation, self._assistant)
            if invocation.draft is None
            else await RUNS.run(run_form, invocation, self._assistant)
        )
        ids = {"job_id": thread_id, "trace_id": str(invocation.trace_id)}
        with (
            self.breaker.attempt(),
            _tracer.start_as_current_span(
                "langgraph_server.invoke",
                kind=SpanKind.CLIENT,
                attributes=ids,
                # An error has the server's own words, which may repeat what was sent.
                record_exception=False,
                set_status_on_exception=False,
            ),
        ):
            await self._start_run("invoke", thread_id, body, "the runtime refused the job with HTTP {}")
        return thread_id

    async def resume(self, thread_id: str, reply: Reply, invocation: Invocation) -> None:
        """Continue a run with a person's reply, as in `Runtime`. Raises as `invoke`."""
        body = reply_form(invocation, self._assistant, reply)
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
            run = await self._threads.newest_run(thread_id)
            if run is None or run.status not in ACTIVE:
                return
            path = f"{runs_path(thread_id)}/{path_segment(run.id)}/cancel?wait=false&action=interrupt"
            answer = await self._answer("cancel", "POST", path)
            # It may have ended meanwhile.
            if not answer.ok and answer.status not in (httpx.codes.NOT_FOUND, httpx.codes.CONFLICT):
                raise self._calls.refusal("the runtime refused to cancel with HTTP {}", answer)

    async def state(self, thread_id: str, admit: AdmitFrame = admit_at_once) -> RuntimeState | None:
        """The state of the thread's newest run, as in `Runtime`; None when the server does not know one.
        Raises as `invoke`."""
        with self.breaker.attempt(thread_id):
            run = await self._threads.newest_run(thread_id)
            if run is None or run.status in ACTIVE:
                return None if run is None else RuntimeState("running")
            state = await self._threads.state(thread_id, admit)
            if state is None:
                return None
            if run.status == SUCCESS:
                return RuntimeState("completed", state.files)
            return RuntimeState("failed", state.files, await self._threads.reason(run, thread_id, state))

    @asynccontextmanager
    async def stream(self, thread_id: str, receiver: FrameReceiver = READER_ALONE) -> AsyncIterator[Frames]:
        """The frames of the thread's newest run from its first one on, as in `Runtime`."""
        async with AsyncExitStack() as stack:
            with self.breaker.attempt(thread_id):
                run = await self._threads.newest_run(thread_id)
                if run is None:
                    raise RuntimeRefused("the runtime does not know the run", status=httpx.codes.NOT_FOUND)
                stream = RunStream(self._calls, thread_id, run.id, self._stream_limits, self._large_recalls)
                opened = await stack.enter_async_context(stream.opened(receiver.admit))

            async def ending(asked: bool) -> Sequence[bytes]:
                with self.breaker.attempt(thread_id):
                    return await self._ending(thread_id, run, asked=asked)

            repeats = Repeats(stream.kept_under, since_ms=opened.at_ms)
            yield RunFrames(opened.events, repeats, ending)

    async def has_assistant(self) -> bool:
        """Whether the server has the graph or the assistant that is to run. Raises as `invoke`."""
        body = dump({"graph_id": self._assistant, "limit": 1})
        answer = await self._answer("state", "POST", "/assistants/search", body)
        if not answer.ok and answer.status != httpx.codes.NOT_FOUND:
            raise self._calls.refusal("the runtime answered with HTTP {}", answer)
        if answer.ok and answer.body.strip() != b"[]":
            return True
        return (await self._answer("state", "GET", f"/assistants/{path_segment(self._assistant)}")).ok

    # --- Calls -----------------------------------------------------------------------------------

    async def _start_run(self, endpoint: str, thread_id: str, body: bytes, refusal: str) -> None:
        async with AsyncExitStack() as place:
            answer = await self._calls.call(endpoint, "POST", runs_path(thread_id), body, place=place)
            if not answer.ok:
                raise self._calls.refusal(refusal, answer)
            # It may have what was sent, with the files of a draft.
            if await self._calls.read(answer, run_id_in) is None:
                raise RuntimeRefused("the runtime's answer has no run_id", status=answer.status)

    async def _answer(self, endpoint: str, method: str, path: str, body: bytes | None = None) -> Answer:
        """An answer of which only the status counts, or whether it is empty."""
        async with AsyncExitStack() as place:
            return await self._calls.call(endpoint, method, path, body, place=place)

    async def _continues_with(self, thread_id: str, reply: Reply) -> bool:
        """Whether the newest run of the thread is the one that the reply began."""
        run = await self._threads.newest_run(thread_id)
        return run is not None and run.resume_id == str(reply.id)

    async def _ending(self, thread_id: str, run: ServerRun, *, asked: bool) -> Sequence[bytes]:
        """The frames after the last one of a run whose stream was closed. Raises StreamClosed."""
        now = await self._threads.newest_run(thread_id)
        if now is None or now.id != run.id:
            raise StreamClosed("the runtime no longer knows the run")
        if now.status in ACTIVE:
            raise StreamClosed("the runtime closed its stream before the run was over")
        if now.status == SUCCESS:
            status = "" if asked else await self._threads.status(thread_id)
            return [BREAKPOINT, END] if status == "interrupted" else [END]
        state = await self._threads.state(thread_id)
        return [error_frame(await self._threads.reason(now, thread_id, state)), END]
