"""A recorder: one client of one kind, that comes back with its cursor until it has the last event.

It behaves as the published rules ask of a client: it comes back after what is worth to come back from,
to the next address of its list, and it writes down all it gets.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any

import httpx

from ide_orchestrator.v1 import event_pb2
from tests.faults.rig.history import Client, Connection
from tests.support import client as hub
from tests.support import stream_items as items
from tests.support.client import Address

#: Seconds between two tries.
RETRY_S = 0.1
#: A connection on which nothing comes for so long is given up: half open, or its server is stopped.
QUIET_S = 12.0


def event_sha256(event: event_pb2.Event) -> str:
    """The digest of an event's canonical form, the same whatever form it travelled in."""
    return hashlib.sha256(event.SerializeToString(deterministic=True)).hexdigest()


def frame_sha256(frame: dict[str, Any]) -> str:
    """The digest of a legacy frame."""
    return hashlib.sha256(json.dumps(frame, sort_keys=True).encode()).hexdigest()


class Recorder:
    """Follows one thread. `addresses` is asked at each connection, with how many there were before."""

    def __init__(
        self,
        way: str,
        thread_id: str,
        token: str,
        addresses: Callable[[], Sequence[Address]],
        *,
        first: int = 0,
    ) -> None:
        self.client = Client(way)
        #: Set once anything came.
        self.started = asyncio.Event()
        self._thread_id, self._token, self._addresses = thread_id, token, addresses
        self._turn = first
        self._cursor = 0

    @property
    def cursor(self) -> int:
        """The seq of the last unit."""
        return self._cursor

    async def run(self) -> Client:
        """Follow until the last event, or until the hub says not to come back."""
        while not self.client.complete:
            connection = Connection(self._cursor, time.monotonic(), self.client.way == "ws-legacy")
            self.client.connections.append(connection)
            addresses = self._addresses()
            try:
                await self._follow(connection, addresses[self._turn % len(addresses)])
                connection.ended = "done" if self.client.complete else "ended early"
            except hub.StreamEnded as ended:
                connection.ended, connection.refused = str(ended), ended.final
                if ended.final:
                    break
            except (OSError, TimeoutError, httpx.HTTPError) as error:
                connection.ended = type(error).__name__
            if not connection.received and connection.hello is None:
                self.client.connections.pop()  # nothing came: nothing to check
            if not self.client.complete:
                self._turn += 1
                await asyncio.sleep(RETRY_S)
        return self.client

    async def _follow(self, connection: Connection, address: Address) -> None:
        client = hub.Client(address, self._token, quiet_s=QUIET_S)
        async with aclosing(client.follow(self.client.way, self._thread_id, self._cursor)) as stream:
            leave_at: float | None = None
            while True:
                left_s = QUIET_S if leave_at is None else max(leave_at - time.monotonic(), 0)
                try:
                    async with asyncio.timeout(left_s):
                        item = await anext(stream)
                except StopAsyncIteration:
                    return
                match item:
                    case items.Hello(last_seq) if connection.hello is None:
                        connection.hello = last_seq
                    case items.Event():
                        event = item.message
                        last = event.WhichOneof("kind") == "terminal"
                        self._take(connection, event.seq, event_sha256(event), last=last)
                    case items.Frame(frame):
                        # The hub sends `end` at the end alone; a proper close says the same.
                        last = frame.get("event_type") == "end"
                        self._take(connection, frame["seq"], frame_sha256(frame), last=last)
                    case items.Reconnect(after_ms) if leave_at is None:
                        leave_at = time.monotonic() + after_ms / 1000
                    case items.Completed():
                        self.client.complete = True

    def _take(self, connection: Connection, seq: int, sha256: str, *, last: bool) -> None:
        connection.received.append((seq, sha256, time.monotonic()))
        self._cursor = seq
        self.started.set()
        self.client.complete = self.client.complete or last
