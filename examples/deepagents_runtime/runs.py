"""Runs: an agent's graph at work, and the frames of its stream, which any number of connections read."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

from langgraph.types import Command

logger = logging.getLogger("uvicorn.error")


class NotWaiting(Exception):
    """The run does not wait for a reply."""


class Run:
    """A run from its invocation on, with or without readers.

    A reply begins a new part: from then on, stream and state are those of the continuation.
    """

    def __init__(self, agent: Any, thread_id: str, given: dict[str, Any]) -> None:
        self._agent = agent
        self._config = {"configurable": {"thread_id": thread_id}, "recursion_limit": 500}
        self._resume_id: str | None = None
        self._files: dict[str, Any] | None = None
        self._begin(given)

    def _begin(self, given: Any) -> None:
        self._frames: list[str] = []
        self._grown = asyncio.Event()
        self._error: dict[str, str] | None = None
        self._waiting = False
        self._task = asyncio.create_task(self._work(given))

    def resume(self, resume_id: str, interrupt_id: str | None, value: Any) -> None:
        """Continue with a person's reply, once for each `resume_id`. Raises NotWaiting."""
        if resume_id == self._resume_id:
            return
        if not self._waiting or not self._task.done():
            raise NotWaiting("the run does not wait for a reply")
        self._resume_id = resume_id
        self._begin(Command(resume={interrupt_id: value} if interrupt_id else value))

    @property
    def status(self) -> str:
        """`running`, `failed`, or `completed`, which a run that waits for a reply is, too."""
        if not self._task.done():
            return "running"
        return "failed" if self._error else "completed"

    def state(self) -> dict[str, Any]:
        """The status, with the files written so far."""
        result = {"message": "Execution completed"} if self.status == "completed" else None
        return {
            "status": self.status,
            "result": result,
            "generated_files": self._files,
            "error": self._error,
        }

    async def frames(self) -> AsyncIterator[str]:
        """All frames of the present part, from its first one."""
        frames, sent = self._frames, 0
        while True:
            while sent < len(frames):
                yield frames[sent]
                sent += 1
            if frames is not self._frames or self._task.done():
                return
            await self._grown.wait()

    async def _work(self, given: Any) -> None:
        try:
            stream = self._agent.astream(given, self._config, stream_mode=["values", "messages"])
            async for mode, value in stream:
                if mode == "messages":
                    self._send("on_llm_stream", {"raw_event": str(value)})
                    continue
                self._files = value.get("files", self._files)
                self._waiting = "__interrupt__" in value
                self._send("on_state_update", {key: _as_json(member) for key, member in value.items()})
        except Exception as error:
            logger.exception("a run failed")
            self._error = {"message": str(error), "type": type(error).__name__}
            self._send("error", {"error": self._error, "context": "execution_failed"})
        self._send("end", {})

    def _send(self, event_type: str, data: dict[str, Any]) -> None:
        self._frames.append(json.dumps({"event_type": event_type, "data": data}))
        self._grown.set()
        self._grown = asyncio.Event()


def _as_json(member: Any) -> Any:
    """The member if JSON can hold it, otherwise its printed form, as the published runtime sends it."""
    try:
        json.dumps(member)
    except (TypeError, ValueError):
        return str(member)
    return member
