"""The runtime of the bench: deepagents-runtime's endpoints, fast enough not to be what is measured.

It plays the loads of `bench.loads`. A thread's frames wait until `POST /bench/release` names it, so that
everything is connected when the clocks begin to run; they go at a pace or at full speed. More endpoints of
its own: `POST /bench/connected` waits until threads are read, `GET /bench/sent/THREAD` says when each frame
left, `POST /bench/forget` drops threads. `python -m bench.runtime` prints its address.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from typing import Any, cast

import uvloop

from bench.loads import load
from server.replay.directives import find_directive

PREFIX = "/deepagents-runtime"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CLOSE = b"\x88\x02\x03\xe8"
_PING, _PONG, _CLOSE_CODE = 9, 10, 8


def frame_of(payload: bytes) -> bytes:
    """A text frame as a server sends it."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


@cache
def framed(name: str) -> Sequence[bytes]:
    """The frames of a load."""
    return [frame_of(text.encode()) for text in load(name).frames]


class Thread:
    """A job's thread: its load, who reads it, and when each frame left, in ns of the monotonic clock."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.files = load(name).files[-1]
        self.streams: list[asyncio.Transport] = []
        self.connected = asyncio.Event()
        self.released = self.ended = False
        self.sent: list[int] = []

    def join(self, stream: asyncio.Transport) -> None:
        """Another reader. One that comes late gets everything at once."""
        self.streams.append(stream)
        self.connected.set()
        if self.released:
            stream.write(b"".join((*framed(self.name), _CLOSE)))

    async def play(self, delay_s: float, frames_per_s: float | None) -> None:
        """Send every frame to all readers, then close. frames_per_s None: at full speed."""
        self.released = True
        streams, frames = list(self.streams), framed(self.name)
        if frames_per_s is None:
            self.sent = [time.monotonic_ns()] * len(frames)
            for stream in streams:
                stream.writelines([*frames, _CLOSE])
        else:
            began = time.monotonic() + delay_s
            for number, frame in enumerate(frames):
                await asyncio.sleep(began + number / frames_per_s - time.monotonic())
                self.sent.append(time.monotonic_ns())
                for stream in streams:
                    stream.write(frame)
            for stream in streams:
                stream.write(_CLOSE)
        self.ended = True

    def state(self, thread_id: str) -> dict[str, Any]:
        """The runtime's answer about it."""
        return {
            "thread_id": thread_id,
            "status": "completed" if self.ended else "running",
            "result": {"message": "Execution completed"} if self.ended else None,
            "generated_files": self.files if self.ended else None,
            "error": None,
        }


class Runtime:
    """The threads, and what is asked of them. Each method takes a request's body and returns the answer's."""

    def __init__(self) -> None:
        self.threads: dict[str, Thread] = {}
        self._playing: set[asyncio.Task[None]] = set()

    async def invoke(self, job: dict[str, Any]) -> object:
        """Start a job; its directive names the load."""
        directive = find_directive(job["agent_definition"], job["input_payload"])
        self.threads[job["job_id"]] = Thread(directive.name or "short_run")
        return {"thread_id": job["job_id"], "status": "started"}

    async def connected(self, body: dict[str, Any]) -> object:
        """Wait until each of `threads` is read, and each has `streams` readers."""
        for thread_id in body["threads"]:
            thread = self.threads[thread_id]
            while len(thread.streams) < body["streams"]:
                thread.connected.clear()
                await thread.connected.wait()
        return {}

    async def release(self, body: dict[str, Any]) -> object:
        """Play `threads`; when there is a pace, they begin at even distances within a frame's time."""
        pace = body["frames_per_s"]
        for number, thread_id in enumerate(body["threads"]):
            delay_s = number / len(body["threads"]) / pace if pace else 0.0
            task = asyncio.create_task(self.threads[thread_id].play(delay_s, pace))
            self._playing.add(task)
            task.add_done_callback(self._playing.discard)
        return {"released_at": time.monotonic_ns()}

    async def forget(self, body: dict[str, Any]) -> object:
        """Drop `threads`."""
        for thread_id in body["threads"]:
            for stream in self.threads.pop(thread_id).streams:
                stream.close()
        return {}


class Connection(asyncio.Protocol):
    """One connection: requests one after another, and then perhaps a stream."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._posts: Mapping[str, Callable[[dict[str, Any]], Awaitable[object]]] = {
            f"{PREFIX}/invoke": runtime.invoke,
            "/bench/connected": runtime.connected,
            "/bench/release": runtime.release,
            "/bench/forget": runtime.forget,
        }
        self._received = b""
        self._is_stream = False
        self._answering: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It begins."""
        # uvloop's transports are of no class of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Take bytes: a request, or a client's frames."""
        self._received += data
        if self._is_stream:
            self._read_frames()
            return
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        request, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        size = int(headers.get("content-length", 0))
        if len(rest) < size:
            return
        self._received = rest[size:]
        method, path, _ = request.split(" ")
        if "sec-websocket-key" in headers:
            self._upgrade(path, headers["sec-websocket-key"])
        elif method == "POST" and path in self._posts:
            task = asyncio.create_task(self._post(path, rest[:size]))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        else:
            self._get(path)

    def _upgrade(self, path: str, key: str) -> None:
        thread = self._runtime.threads.get(path.rpartition("/")[2])
        if thread is None:
            self._answer(404, {"detail": "no such thread"})
            return
        self._is_stream = True
        accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest())
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        thread.join(self._transport)

    def _read_frames(self) -> None:
        """Answer pings and the close, which are short; there is nothing else."""
        while len(self._received) >= 6:
            code, size = self._received[0] & 0xF, self._received[1] & 0x7F
            if size > 125 or len(self._received) < 6 + size:
                return
            mask, masked = self._received[2:6], self._received[6 : 6 + size]
            self._received = self._received[6 + size :]
            payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(masked))
            if code == _PING:
                self._transport.write(bytes((0x80 | _PONG, size)) + payload)
            elif code == _CLOSE_CODE:
                self._transport.close()
                return

    async def _post(self, path: str, body: bytes) -> None:
        self._answer(200, await self._posts[path](json.loads(body)))

    def _get(self, path: str) -> None:
        kind, _, name = path.rpartition("/")
        thread = self._runtime.threads.get(name)
        if path in ("/health", "/ready"):
            self._answer(200, {"status": "healthy"})
        elif thread is None:
            self._answer(404, {"detail": f"Thread {name} not found"})
        elif kind == "/bench/sent":
            self._answer(200, thread.sent)
        else:
            self._answer(200, thread.state(name))

    def _answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


async def serve() -> None:
    """Serve until the process is killed."""
    runtime = Runtime()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(runtime), "127.0.0.1", 0, backlog=4096)
    port = server.sockets[0].getsockname()[1]
    print(f"runtime http://127.0.0.1:{port}{PREFIX}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
