"""The runtime of an attacked hub as a LangGraph server, as a process: `python -m
tests.hostile.attacks.agent_server NAME…`.

It plays the recordings that the other runtime plays, as events of a stream. What else it does is in
`tests.hostile.attacks.event_streams`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from server.replay.runs import Run
from tests.hostile.attacks.event_streams import HARM, HEAD, Harm
from tests.hostile.attacks.runtime import RecordedRuntime
from tests.support.servers import read_request, send_answer, tcp_server


class AgentServer:
    """Answers what the hub asks. Names of HARM that a prompt may hold are those of `harm`."""

    def __init__(self, harm: list[str]) -> None:
        self._harm = {name: HARM[name] for name in harm}
        self._recorded = RecordedRuntime({}, {})
        self._harmful: dict[str, Harm] = {}

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Answer one request."""
        head, body = await read_request(reader)
        method, target = head.decode("latin-1").split(" ")[:2]
        match urlsplit(target).path.strip("/").split("/"):
            case ["threads", thread_id, "runs"] if method == "POST":
                await self._start(thread_id, json.loads(body))
                await _answer(writer, {"run_id": thread_id})
            case ["threads", thread_id, "runs"]:
                await _answer(
                    writer, [{"run_id": thread_id, "status": await self._status(thread_id), "metadata": {}}]
                )
            case ["threads", thread_id, "runs", _, "stream"]:
                harm = self._harmful.get(thread_id)
                if harm is not None:
                    await harm(writer, again=b"last-event-id: -1" not in head.lower())
                    return
                writer.write(HEAD)
                run = self._recorded.runs[thread_id]
                assert isinstance(run, Run)
                async for event in _events(run):
                    writer.write(event)
                    await writer.drain()
            case ["threads", thread_id, "state"]:
                await _answer(writer, {"values": {"files": await self._files(thread_id)}, "tasks": []})
            case ["threads", "search"]:
                await _answer(writer, [{"thread_id": "", "status": "idle"}])
            case _:
                await send_answer(writer, 404, b'{"detail": "unknown"}')

    async def _start(self, thread_id: str, form: dict[str, Any]) -> None:
        definition = form["config"]["configurable"]["agent_definition"]
        text = json.dumps([form["input"], definition])
        named = next((name for name in self._harm if f"[[replay:{name}]]" in text), None)
        if named is not None:
            self._harmful[thread_id] = self._harm[named]
            return
        await self._recorded.invoke(
            {"job_id": thread_id, "agent_definition": definition, "input_payload": form["input"]}
        )

    async def _status(self, thread_id: str) -> str:
        if thread_id in self._harmful:
            return "running"
        _, state = await self._recorded.state(thread_id)
        return "success" if state["status"] == "completed" else "running"

    async def _files(self, thread_id: str) -> Any:
        if thread_id in self._harmful:
            return {}
        return (await self._recorded.state(thread_id))[1]["generated_files"]


async def _events(run: Run) -> AsyncIterator[bytes]:
    """The frames of a recorded run as events."""
    numbers = count(1)
    async for text in run.frames():
        frame = json.loads(text)
        data = frame["data"]
        if frame["event_type"] == "end":
            return
        name = frame["event_type"].removeprefix("on_")
        if name == "llm_stream":
            name, data = "messages", data["raw_event"]
        elif name == "state_update":
            name = "values"
        yield f"event: {name}\ndata: {json.dumps(data)}\nid: {next(numbers)}-0\n\n".encode()


async def _answer(writer: StreamWriter, value: object) -> None:
    await send_answer(writer, 200, json.dumps(value).encode())


async def serve(names: list[str]) -> None:
    """Print the address, and serve until the process is ended."""
    async with tcp_server(AgentServer(names).serve) as port:
        print(f"runtime http://127.0.0.1:{port}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1:]))
