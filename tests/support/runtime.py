"""deepagents-runtime as a test plays it: its endpoints on a raw socket, so that a connection can be
reset, left half open, or cut within a frame.

What it does is a `Runtime`; `ScriptedRuntime` is the one that most tests need.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from server.domain.runs.runtime import Frames, OversizedFrame
from server.domain.runs.runtime import Runtime as HubsRuntime
from tests.support.proxy import reset
from tests.support.servers import Place, read_request, send_answer, tcp_server

#: A status, and what is sent with it as JSON; bytes are sent as they are.
Answer = tuple[int, Any]

END: dict[str, Any] = {"event_type": "end", "data": {}}
#: In a scripted stream: close without an end; send nothing more.
CLOSE, SILENCE = "close", "silence"


class Disconnect(Exception):
    """Raised by a `Runtime`: the connection ends without another byte."""


async def one_by_one(frames: Frames) -> AsyncIterator[bytes | OversizedFrame]:
    """The frames of a stream, which gives those that came together."""
    async for together in frames:
        for frame in together:
            yield frame


@asynccontextmanager
async def frames_of(
    runtime: HubsRuntime, thread_id: str
) -> AsyncIterator[AsyncIterator[bytes | OversizedFrame]]:
    """The frames of a thread, one by one, while its stream is open."""
    async with runtime.stream(thread_id) as frames:
        yield one_by_one(frames)


class Stream:
    """A WebSocket connection of the hub's to the runtime."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, thread_id: str, head: bytes
    ) -> None:
        self.thread_id = thread_id
        self._reader, self._writer = reader, writer
        self._protocol = ServerProtocol(max_size=None)
        self._protocol.receive_data(head)
        [request] = self._protocol.events_received()
        assert isinstance(request, Request)
        self._request = request

    async def accept(self) -> None:
        """Accept the handshake."""
        self._protocol.send_response(self._protocol.accept(self._request))
        await self._flush()

    async def refuse(self, status: int) -> None:
        """Refuse the handshake."""
        self._protocol.send_response(self._protocol.reject(status, "refused"))
        await self._flush()
        raise Disconnect

    async def send(self, frame: bytes, *, share: float = 1.0) -> None:
        """Send a text frame, or a share of its bytes."""
        self._protocol.send_text(frame)
        data = b"".join(self._protocol.data_to_send())
        self._writer.write(data[: int(len(data) * share)])
        await self._writer.drain()

    async def send_raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    async def close(self, code: int = 1000) -> None:
        """Close it properly."""
        self._protocol.send_close(code)
        await self._flush()

    async def reset(self) -> None:
        """End it with a RST."""
        reset(self._writer)
        raise Disconnect

    async def silence(self) -> None:
        """Send nothing more, until the client leaves."""
        await asyncio.Event().wait()

    async def left(self) -> None:
        """Read what the client sends, until it closes or is gone."""
        with suppress(OSError):
            while data := await self._reader.read(1 << 16):
                self._protocol.receive_data(data)
                await self._flush()
                if any(
                    getattr(event, "opcode", None) is Opcode.CLOSE
                    for event in self._protocol.events_received()
                ):
                    return

    async def _flush(self) -> None:
        self._writer.write(b"".join(self._protocol.data_to_send()))
        await self._writer.drain()


class Runtime:
    """What a runtime does. Each method may raise Disconnect."""

    async def invoke(self, job: dict[str, Any]) -> Answer:
        """Answer the POST of a job."""
        return 200, {"thread_id": job["job_id"], "status": "started"}

    async def resume(self, reply: dict[str, Any]) -> Answer:
        """Answer a POST that continues a run."""
        return 404, {"detail": "Not Found"}

    async def post(self, path: str, body: dict[str, Any]) -> Answer:
        """Answer a POST."""
        return await (self.resume(body) if path.endswith("/resume") else self.invoke(body))

    async def get(self, path: str) -> Answer:
        """Answer a GET."""
        return await self.state(path.rpartition("/")[2])

    async def state(self, thread_id: str) -> Answer:
        """Answer the question how a thread stands."""
        return 404, {"detail": "unknown"}

    async def stream(self, stream: Stream) -> None:
        """Serve a stream, from the handshake on; it is closed properly afterwards. Cancelled when the
        client leaves."""
        await stream.refuse(404)


@asynccontextmanager
async def serve_runtime(runtime: Runtime, port: Place = 0) -> AsyncIterator[str]:
    """Serve a runtime; its address."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, body = await read_request(reader)
        method, path = head.decode("latin-1").split(" ")[:2]
        with suppress(Disconnect):
            if b"\r\nupgrade: websocket" in head.lower():
                await _serve_stream(runtime, Stream(reader, writer, path.rpartition("/")[2], head))
                return
            status, value = await (
                runtime.post(path, json.loads(body)) if method == "POST" else runtime.get(path)
            )
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            await send_answer(writer, status, body)

    async with tcp_server(handle, port) as place:
        yield f"http://127.0.0.1:{place}"


async def _serve_stream(runtime: Runtime, stream: Stream) -> None:
    leaving = asyncio.ensure_future(stream.left())
    serving = asyncio.ensure_future(runtime.stream(stream))
    try:
        await asyncio.wait({leaving, serving}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
            await stream.close()
            await asyncio.wait({leaving}, timeout=1)
    finally:
        for task in (leaving, serving):
            task.cancel()
        await asyncio.gather(leaving, serving, return_exceptions=True)


@dataclass
class ScriptedRuntime(Runtime):
    """Does as lists say, of which the last entry serves for all later calls.

    `streams`: the frames of each connection, with CLOSE or SILENCE. `states`: the answer to each question
    about a thread: an object, None for 404, or another status. `invokes`: the status of each POST.
    """

    streams: Sequence[Sequence[Any]] = ((),)
    states: Sequence[dict[str, Any] | int | None] = (None,)
    invokes: Sequence[int] = (200,)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    connections: int = 0
    #: Questions about a thread.
    asked: int = 0

    async def invoke(self, job: dict[str, Any]) -> Answer:
        status = self.invokes[min(len(self.jobs), len(self.invokes) - 1)]
        self.jobs.append(job)
        return status, (await super().invoke(job))[1]

    async def state(self, thread_id: str) -> Answer:
        state = self.states[min(self.asked, len(self.states) - 1)]
        self.asked += 1
        if isinstance(state, dict):
            return 200, state
        return state or 404, {"detail": "unknown"}

    async def stream(self, stream: Stream) -> None:
        await stream.accept()
        steps = self.streams[min(self.connections, len(self.streams) - 1)]
        self.connections += 1
        for step in steps:
            if step == SILENCE:
                await stream.silence()
            if step == CLOSE:
                return
            await stream.send(json.dumps(step).encode())


# Frames.


def token_frame(text: str) -> dict[str, Any]:
    """A token."""
    return {"event_type": "on_llm_stream", "data": {"content": text}}


def state_frame(**data: Any) -> dict[str, Any]:
    """A state with these members."""
    return {"event_type": "on_state_update", "data": data}


def files(**contents: str) -> dict[str, Any]:
    """A file map: names without the slash."""
    return {f"/{name}": {"content": text, "encoding": "utf-8"} for name, text in contents.items()}


def files_frame(**contents: str) -> dict[str, Any]:
    """A state with these files."""
    return state_frame(files=files(**contents))
