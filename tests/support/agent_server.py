"""LangGraph's Agent Server as a test plays it, with what the real one sent (tests/data/agent_server)."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.proxy import reset_once_read
from tests.support.servers import answer, http_server

FOLDER = Path(__file__).parents[1] / "data/agent_server"
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\nconnection: close\r\n%b\r\n"
)


def recorded(scenario: str, file: str) -> bytes:
    """A body that the real server sent, recorded by `python -m tests.examples.record_agent_server`."""
    return (FOLDER / scenario / file).read_bytes()


@dataclass
class RecordedServer:
    """Answers as the real server did in a scenario.

    streams: the recorded streams of the connections, of which the last one serves for all later ones.
    kept: where the events are that the server keeps; by default in the last stream. cut_at: bytes after
    which a connection is reset, for each of the first connections. piece_bytes: of a chunk. stalls: a stream
    stays open after its last event. status, thread_status: instead of the recorded ones. refusals, bodies:
    statuses of refusals, and bodies of answers, by the end of a path. refuse_starts: the status with which
    runs are not started. detail: of refusals.
    """

    scenario: str
    streams: tuple[str, ...] = ("stream.sse",)
    kept: str = ""
    cut_at: tuple[int, ...] = ()
    piece_bytes: int = 1 << 16
    stalls: bool = False
    status: str = ""
    thread_status: str = ""
    detail: str = "refused, as the test says"
    date: str = ""
    refuse_starts: int = 0
    bodies: dict[str, bytes] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)
    #: Method, path and body of each request.
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0
    _suffix: str = ""
    _started: bool = False

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Its address."""
        async with http_server(self._answer) as base:
            yield base

    def forms(self, end: str) -> list[Any]:
        """The bodies of the POSTs to paths with this end."""
        return [body for method, path, body in self.requests if method == "POST" and path.endswith(end)]

    async def _answer(self, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bytes:
        method, target = head.decode("latin-1").split(" ")[:2]
        path = urlsplit(target).path
        form = json.loads(body) if body else {}
        self.requests.append((method, path, form))
        self.heads.append(head)
        for end, status in self.refusals.items():
            if path.endswith(end):
                return self._refusal(status)
        for end, given in self.bodies.items():
            if path.endswith(end):
                return answer(200, given)
        if path.endswith("/stream"):
            return await self._stream(head, writer)
        if path == "/threads/search":
            return self._file("thread")
        if path.endswith("/cancel"):
            return answer(202, b"")
        if path.endswith("/state"):
            return self._file("state")
        if method == "POST" and path.endswith("/runs"):
            return self._start(form)
        if path.endswith("/runs") and self._started:
            return self._file("runs")
        return answer(404, b'{"detail":"Thread not found"}')

    def _start(self, form: dict[str, Any]) -> bytes:
        if self.refuse_starts:
            return self._refusal(self.refuse_starts)
        self._started = True
        if "command" not in form:
            return answer(200, recorded(self.scenario, "started.json"))
        self._suffix, self.streams, self.connections = "-resumed", ("resumed.sse",), 0
        return answer(200, recorded(self.scenario, "resumed.json"))

    def _file(self, name: str) -> bytes:
        body = recorded(self.scenario, f"{name}{self._suffix}.json")
        status = {"runs": self.status, "thread": self.thread_status}.get(name)
        if status:
            [listed] = json.loads(body)
            body = json.dumps([listed | {"status": status}]).encode()
        return answer(200, body)

    def _refusal(self, status: int) -> bytes:
        return answer(status, json.dumps({"detail": self.detail}).encode())

    async def _stream(self, head: bytes, writer: asyncio.StreamWriter) -> bytes:
        after = re.search(rb"last-event-id: (\S+)", head.lower())
        assert after is not None
        stream_head = _STREAM_HEAD % (f"date: {self.date}\r\n".encode() if self.date else b"")
        if after[1] != b"-1":
            return stream_head + _chunk(self._events_after(after[1])) + b"0\r\n\r\n"
        number, self.connections = self.connections, self.connections + 1
        body = recorded(self.scenario, self.streams[min(number, len(self.streams) - 1)])
        cut_at = self.cut_at[number] if number < len(self.cut_at) else None
        writer.write(stream_head)
        for start in range(0, len(body[:cut_at]), self.piece_bytes):
            piece = body[:cut_at][start : start + self.piece_bytes]
            writer.write(_chunk(piece))
            await writer.drain()
        if self.stalls:
            await asyncio.Event().wait()
        if cut_at is None:
            return b"0\r\n\r\n"
        await reset_once_read(writer)
        raise ConnectionResetError

    def _events_after(self, event_id: bytes) -> bytes:
        """What the server keeps after an id, which it compares as a text."""
        events = recorded(self.scenario, self.kept or self.streams[-1]).split(b"\r\n\r\n")
        found = [(re.search(rb"^id: (\S+)", event, re.MULTILINE), event) for event in events]
        return b"".join(event + b"\r\n\r\n" for key, event in found if key and key[1] > event_id)


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)
