"""What the server says about a thread."""

from __future__ import annotations

from contextlib import AsyncExitStack

import httpx

from server.agent_server.forms import (
    ServerRun,
    ThreadState,
    error_in,
    newest_run_in,
    reason_of,
    state_in,
    thread_status_in,
)
from server.domain.errors import RuntimeRefused
from server.domain.runs.runtime import AdmitFrame, admit_at_once
from server.encoding.json_text import dump
from server.runtime.calls import Answer, RuntimeCalls
from server.runtime.thread_ids import path_segment

_REFUSAL = "the runtime answered about a run with HTTP {}"


class Threads:
    """The threads of one server. All methods raise RuntimeUnavailable, RuntimeRefused."""

    def __init__(self, calls: RuntimeCalls) -> None:
        self._calls = calls

    async def newest_run(self, thread_id: str) -> ServerRun | None:
        """The newest run of a thread; None when the server does not know one."""
        path = f"{runs_path(thread_id)}?limit=1&select=run_id&select=status&select=metadata"
        async with AsyncExitStack() as place:
            answer = await self._calls.call("state", "GET", path, place=place)
            if answer.status == httpx.codes.NOT_FOUND:
                return None
            if not answer.ok:
                raise self._calls.refusal(_REFUSAL, answer)
            try:
                return await self._calls.read(answer, newest_run_in)
            except ValueError:
                raise _unreadable(answer) from None

    async def state(self, thread_id: str, admit: AdmitFrame = admit_at_once) -> ThreadState | None:
        """The state of a thread; None when the server does not know it. admit: as for `Runtime.state`."""
        async with AsyncExitStack() as place:
            answer = await self._calls.call("state", "GET", f"{_path(thread_id)}/state", place=place)
            if answer.status == httpx.codes.NOT_FOUND:
                return None
            if not answer.ok:
                raise self._calls.refusal(_REFUSAL, answer)
            state = await self._calls.read(answer, state_in, admit)
        if state is None:
            raise _unreadable(answer)
        return state

    async def status(self, thread_id: str) -> str:
        """The status of a thread, without its values, which may be large."""
        form = {"metadata": {"job_id": thread_id}, "limit": 1, "select": ["thread_id", "status"]}
        async with AsyncExitStack() as place:
            answer = await self._calls.call("state", "POST", "/threads/search", dump(form), place=place)
            if not answer.ok:
                raise self._calls.refusal(_REFUSAL, answer)
            return await self._calls.read(answer, thread_status_in)

    async def reason(self, run: ServerRun, thread_id: str, state: ThreadState | None) -> str:
        """Why a run failed. state: the thread's, if it is known."""
        error = state.error if state is not None else ""
        if not error:
            # The run may have failed before it had a task.
            async with AsyncExitStack() as place:
                # It has the values, too, which may be large.
                answer = await self._calls.call("state", "GET", _path(thread_id), place=place)
                error = await self._calls.read(answer, error_in)
        return reason_of(run, error)


def runs_path(thread_id: str) -> str:
    """The path of a thread's runs."""
    return f"{_path(thread_id)}/runs"


def _path(thread_id: str) -> str:
    return f"/threads/{path_segment(thread_id)}"


def _unreadable(answer: Answer) -> RuntimeRefused:
    return RuntimeRefused("the runtime's answer about a run cannot be read", status=answer.status)
