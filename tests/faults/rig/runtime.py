"""The scripted runtime: deepagents-runtime's three endpoints on a raw socket, acting the persona that a
job's prompt asks for, and remembering what really happened.

    python -m tests.faults.rig.runtime PORT

It prints `runtime ADDRESS`. `GET /truth/{thread}` tells what a test may hold the hub against: invokes,
frames sent on each connection, the run's files. Raw, because a frame is to be cut in its middle, a
connection reset or left half open.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import socket
import struct
import sys
from dataclasses import dataclass, field
from typing import Any

from server.domain.journal.frame_reconstruction import frame_digest
from tests.faults.rig.personas import Persona
from tests.faults.rig.scripts import Script, digests_of, script

PREFIX = "/deepagents-runtime"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#: How long the stream of an unknown thread, and a poller, show progress; and how often.
UNKNOWN_S, PROGRESS_S = 3.0, 0.2
_SLOW_S = 1.0


class Broken(Exception):
    """The connection is to be left as it is."""


def ws_frame(payload: bytes, opcode: int = 1) -> bytes:
    """An unmasked WebSocket frame."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", 0x80 | opcode, 126, size) + payload
    return struct.pack("!BBQ", 0x80 | opcode, 127, size) + payload


@dataclass
class Job:
    """One job, with all executions of it."""

    persona: Persona
    invokes: int = 0
    started_at: float = 0.0
    #: The digests of the frames sent on each connection; progress is not counted.
    connections: list[list[str]] = field(default_factory=list)
    _moved: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def script(self) -> Script:
        """What the newest execution sends."""
        return script(self.persona.script, max(self.invokes, 1))

    @property
    def count(self) -> int:
        """Frames that the newest execution will ever publish."""
        return self.persona.dies or len(self.script.frames)

    def position(self) -> int:
        """Frames published by now."""
        if not self.persona.rate:
            return self.count
        age = asyncio.get_running_loop().time() - self.started_at
        return max(min(int(age * self.persona.rate) + 1, self.count), 0)

    @property
    def hides_files(self) -> bool:
        """Whether nobody is ever shown a file."""
        return self.persona.kind == "poll" and self.persona.state != "honest"

    @property
    def over(self) -> bool:
        """Whether the newest execution ended properly."""
        return not self.persona.dies and self.position() >= self.count

    def state(self, thread_id: str) -> dict[str, Any] | None:
        """The answer about the thread, None for 404."""
        told: dict[str, Any] = {"thread_id": thread_id, "result": None, "error": None}
        if self.persona.state == "unknown":
            return None
        if self.persona.state == "lies":
            done = {"message": "Execution completed"}
            return told | {"status": "completed", "result": done, "generated_files": {}}
        position = self.position()
        told["generated_files"] = self.script.maps[position - 1] if position else None
        if self.script.error is not None and position > self.script.error:
            return told | {"status": "failed", "error": {"message": "scripted"}}
        return told | {"status": "completed" if self.over else "running"}

    def truth(self) -> dict[str, Any]:
        """What really happened."""
        taken = min(self.count, len(self.script.frames))
        return {
            "invokes": self.invokes,
            "frames": self.script.digests[:taken],
            "connections": self.connections,
            # A poller shows files in its state alone.
            "files": {} if self.hides_files else digests_of(self.script.maps[taken - 1]),
        }


class ScriptedRuntime:
    """All jobs."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One TCP connection: one request, or one stream."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, path, _ = head.split(" ", 2)
            fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            fields = {name.lower(): value for name, value in fields.items()}
            if fields.get("upgrade", "").lower() == "websocket":
                stream = _Stream(self, reader, writer, path.rpartition("/")[2])
                await stream.serve(fields["sec-websocket-key"])
                return
            body = await reader.readexactly(int(fields.get("content-length", 0)))
            status, answer = await self._answer(method, path, body)
            text = json.dumps(answer).encode()
            line = f"HTTP/1.1 {status} Scripted\r\ncontent-length: {len(text)}\r\n"
            writer.write(f"{line}connection: close\r\n\r\n".encode() + text)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, Broken):
            pass
        finally:
            writer.close()

    async def _answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        thread_id = path.rpartition("/")[2]
        if method == "POST":
            return await self._invoke(json.loads(body))
        job = self.jobs.get(thread_id)
        if path.startswith("/truth/"):
            return 200, job.truth() if job else {"invokes": 0, "frames": [], "connections": [], "files": {}}
        told = job.state(thread_id) if job and job.invokes else None
        return (404, {"detail": f"Thread {thread_id} not found"}) if told is None else (200, told)

    async def _invoke(self, request: dict[str, Any]) -> tuple[int, Any]:
        thread_id = request["job_id"]
        persona = Persona.of_prompt(request["agent_definition"].get("user_request", ""))
        if persona.invoke == "lost":
            raise Broken
        if persona.invoke == "error":
            return 500, {"detail": "scripted"}
        job = self.jobs.setdefault(thread_id, Job(persona))
        job.invokes += 1
        job.started_at = asyncio.get_running_loop().time()
        if persona.invoke == "slow":
            await asyncio.sleep(_SLOW_S)
        if persona.invoke == "taken" and job.invokes == 1:
            raise Broken
        return 200, {"thread_id": thread_id, "status": "started"}


class _Stream:
    """One WebSocket connection."""

    def __init__(
        self,
        runtime: ScriptedRuntime,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        thread_id: str,
    ) -> None:
        self._runtime, self._reader, self._writer = runtime, reader, writer
        self._thread_id = thread_id
        self._sent: list[str] = []
        self._now = asyncio.get_running_loop().time
        self._opened_at = self._now()

    async def serve(self, key: str) -> None:
        job = self._runtime.jobs.get(self._thread_id)
        first = job is not None and not job.connections
        if job is not None:
            job.connections.append(self._sent)
            if job.persona.hang == "accept" and first:
                await self._swallow()
        accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()
        head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        self._writer.write(f"{head}Sec-WebSocket-Accept: {accept}\r\n\r\n".encode())
        leaving = asyncio.ensure_future(self._left())
        sending = asyncio.ensure_future(self._send_all(job, first))
        try:
            await asyncio.wait({leaving, sending}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
                await self._close(1000)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(leaving, 1)
        finally:
            for task in (leaving, sending):
                task.cancel()
            await asyncio.gather(leaving, sending, return_exceptions=True)

    async def _left(self) -> None:
        """Read the client's frames; done when it closes."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await self._reader.readexactly(2)
                size = head[1] & 0x7F
                if size > 125:
                    size = int.from_bytes(await self._reader.readexactly(2 if size == 126 else 8))
                mask = await self._reader.readexactly(4)
                payload = bytes(b ^ mask[i % 4] for i, b in enumerate(await self._reader.readexactly(size)))
                if head[0] & 0xF == 8:
                    return
                if head[0] & 0xF == 9:
                    self._writer.write(ws_frame(payload, 10))

    async def _swallow(self) -> None:
        """Stay open, read everything, say nothing more."""
        while await self._reader.read(1 << 16):
            pass
        raise Broken

    async def _send(self, frame: bytes, *, counted: bool = True) -> None:
        if counted:
            self._sent.append(frame_digest(frame).hex())
        self._writer.write(ws_frame(frame))
        await self._writer.drain()

    async def _close(self, code: int) -> None:
        self._writer.write(ws_frame(struct.pack("!H", code), 8))
        await self._writer.drain()

    async def _send_all(self, job: Job | None, first: bool) -> None:
        if job is None or not job.invokes:
            await self._progress(UNKNOWN_S)
            await self._give_up()
            return
        if job.persona.hang == "accepted" and first:
            await self._silent()
        if job.persona.kind == "poll":
            await self._poll(job)
        else:
            await self._frames(job, first, connection=len(job.connections))

    async def _silent(self) -> None:
        await asyncio.Event().wait()

    async def _progress(self, seconds: float) -> None:
        until = self._now() + seconds
        while (left := until - self._now()) > 0:
            text = f"Execution in progress... ({self._now() - self._opened_at:.1f}s)"
            told = {"event_type": "on_state_update", "data": {"messages": text, "status": "running"}}
            await self._send(json.dumps(told).encode(), counted=False)
            await asyncio.sleep(min(PROGRESS_S, left))

    async def _give_up(self) -> None:
        data = {"error": "Execution timeout", "context": "streaming_timeout"}
        await self._send(json.dumps({"event_type": "error", "data": data}).encode())
        await self._send(b'{"event_type":"end","data":{}}')

    async def _poll(self, job: Job) -> None:
        while not job.over and job.persona.state != "lies":
            await self._progress(PROGRESS_S)
        data = {"messages": "Execution completed", "files": {}, "result": {"message": "Execution completed"}}
        await self._send(json.dumps({"event_type": "on_state_update", "data": data}).encode())
        await self._send(b'{"event_type":"end","data":{}}')

    async def _frames(self, job: Job, first: bool, *, connection: int) -> None:
        persona, frames, count = job.persona, job.script.frames, job.count
        start = 0
        if persona.kind == "live":
            start = job.position()
            if job.over:
                start = count - 1
                snapshot = job.script.snapshot(count)
                if snapshot is not None:
                    await self._send(snapshot)
        gives_up_at = self._opened_at + persona.timeout_s if persona.timeout_s else float("inf")
        for at, index in enumerate(range(start, count), 1):
            if persona.rate:
                due_at = job.started_at + index / persona.rate
                await asyncio.sleep(max(min(due_at, gives_up_at) - self._now(), 0))
            if self._now() >= gives_up_at:
                await self._give_up()
                return
            if persona.hang == "last" and index == len(frames) - 1:
                await self._silent()
            if persona.hang == "mid" and first and at == persona.hang_at:
                self._writer.write(ws_frame(frames[index])[: len(frames[index]) // 2])
                await self._silent()
            await self._send(frames[index])
            if at == persona.cut and connection <= persona.cuts:
                await self._break(persona.how)
        if persona.dies:
            await self._silent()

    async def _break(self, how: str) -> None:
        if how == "half":
            await self._silent()
        if how == "1011":
            await self._close(1011)
        elif how == "reset":
            raw: socket.socket = self._writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._writer.transport.abort()
        raise Broken


async def main(port: int) -> None:
    """Serve until killed."""
    runtime = ScriptedRuntime()
    server = await asyncio.start_server(runtime.connected, "127.0.0.1", port, limit=1 << 20, backlog=512)
    print(f"runtime http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1])))
