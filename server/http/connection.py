"""One client's connection, as the handler of a long stream needs it.

In ASGI a handler learns only from `receive` that its client is gone, which needs a second task, and a client
that reads nothing has no deadline. Therefore the server's protocols (`server.http.websocket_protocol`) put a
`Connection` into each scope, under `EXTENSION`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Awaitable, Callable, Hashable, Iterator, MutableMapping
from typing import Any

from litestar.types import Send

from server.domain.endings import Endings
from server.domain.errors import ShuttingDown
from server.domain.fair_budget import Reservation
from server.http.admission import Admission

#: Key of the connection in `scope["extensions"]`.
EXTENSION = "ideo.connection"
#: Seconds within which a client must take at least `PROGRESS_BYTES` of the data that waits for it.
SEND_DEADLINE_S = 10.0
PROGRESS_BYTES = 32 << 10
#: Bytes that may wait in this process for a client before its handler must wait; uvicorn's own limit, too.
HIGH_WATER_BYTES = 64 << 10
#: Answers are written in pieces of this size.
PIECE_BYTES = 64 << 10
#: While others wait for room, a client must take this part of what is in memory for it within the deadline.
_CONTENDED_PART = 8

#: The value of SO_LINGER with which closing a socket resets its connection.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class ClientGone(Exception):
    """The client closed or lost its connection."""


class SlowReader(ClientGone):
    """The client took too little for too long."""


class NoPong(SlowReader):
    """The client did not answer a ping in time."""


def _ignore(message: bytes) -> None:
    pass


class Connection:
    """A client's connection. writable: whether little data waits to be sent; wait: waits until that is so.
    endings, admission: those of all connections of the server."""

    # First those that a commit looks at, for each reader: what lies together is read faster.
    __slots__ = (  # noqa: RUF023
        "_transport",
        "_end_reason",
        "_written_bytes",
        "_admission",
        "_endings",
        "_lost",
        "_task",
        "_wait",
        "_woken",
        "_writable",
        "after_opening",
        "caller",
        "credentials",
        "deadline_s",
        "on_message",
        "reservation",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        writable: Callable[[], bool],
        wait: Callable[[], Awaitable[object]],
        deadline_s: float,
        endings: Endings,
        admission: Admission,
    ) -> None:
        self._transport, self._endings, self._admission = transport, endings, admission
        self._writable = writable
        self._wait = wait
        #: Seconds within which the client must take some of the data that waits for it.
        self.deadline_s = deadline_s
        self._task: asyncio.Task[Any] | None = None
        self._end_reason: Exception | None = None
        self._lost = False
        #: Whether the stream was cancelled because of the reason, and not by somebody else.
        self._woken = False
        self._written_bytes = 0
        #: The request's credentials as a hash (`server.http.admission`), and its caller, as
        #: `server.domain.arrivals` groups them; None while they are not known.
        self.credentials: Hashable = None
        self.caller: Hashable = None
        #: For what is in memory for the client, and not yet sent.
        self.reservation: Reservation | None = None
        #: Called with each message from a WebSocket's client.
        self.on_message: Callable[[bytes], None] = _ignore
        #: What goes on with a WebSocket once the application has opened it and returned: its stream. Called
        #: with ASGI's `send`.
        self.after_opening: Callable[[Send], Awaitable[None]] | None = None

    def identified(self, caller: Hashable) -> None:
        """The caller of the request is known now."""
        self.caller = caller
        if self.credentials is not None:
            self._admission.identified(self.credentials, caller)

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait in this process to be sent."""
        return self._transport.get_write_buffer_size()

    @property
    def acknowledged_bytes(self) -> int:
        """Bytes of the written ones that the client's system has acknowledged; where the kernel does not say,
        those that this process no longer holds."""
        # uvloop raises ValueError once the socket is closed.
        with contextlib.suppress(OSError, AttributeError, ValueError):
            unacknowledged = fcntl.ioctl(self._transport.get_extra_info("socket"), termios.TIOCOUTQ, bytes(4))
            return self._written_bytes - self.waiting_bytes - int.from_bytes(unacknowledged, sys.byteorder)
        return self._written_bytes - self.waiting_bytes

    @property
    def ended(self) -> Exception | None:
        """Why the stream cannot continue; None while it can."""
        return self._end_reason

    @contextlib.contextmanager
    def streaming(self) -> Iterator[None]:
        """Leave the block as soon as the stream cannot continue.

        Raises ClientGone when the connection is lost, ShuttingDown when the server stops.
        """
        reason = self._end_reason
        if reason is not None:
            raise reason
        task = asyncio.current_task()
        assert task is not None
        cancellations_before = task.cancelling()
        self._task, self._woken = task, False
        try:
            yield
        except asyncio.CancelledError:
            reason = self.ended
            if reason is not None and self._woken and task.uncancel() <= cancellations_before:
                raise reason from None
            raise
        finally:
            self._task = None
            if self._lost and self.reservation is not None:
                # It may have reserved more between the loss and this end.
                self.reservation.close()

    async def pause(self, seconds: float) -> None:
        """Wait so long. Raises as `streaming`."""
        with self.streaming():
            await asyncio.sleep(seconds)

    def lost(self) -> None:
        """Called by the protocol when the client is gone."""
        if self.reservation is not None:
            self.reservation.close()
        self._lost = True
        if self._end_reason is None:
            self._end_reason = ClientGone()
            if self._task is not None:
                # Nothing can be written any more, and the stream may end a moment later.
                self._endings.add(self._cancel)

    def unanswered(self) -> None:
        """Called by the protocol when the client did not answer a ping; the stream closes itself."""
        self._end(NoPong())

    def stop(self) -> bool:
        """Called when the server stops. Returns whether a stream is open, which then ends itself."""
        return self._end(ShuttingDown())

    def _end(self, reason: Exception) -> bool:
        if self._end_reason is None:
            self._end_reason = reason
            self._cancel()
        return self._task is not None

    def _cancel(self) -> None:
        if self._task is not None:
            self._woken = True
            self._task.cancel()

    def write(self, data: bytes) -> None:
        """Write bytes to the transport unchanged. Raises ClientGone."""
        if self._lost or self._transport.is_closing():
            raise ClientGone
        self._transport.write(data)
        self._written_bytes += len(data)

    def write_now(self, data: bytes) -> bool:
        """Write bytes if none wait to be sent and the stream can continue. Returns whether it did."""
        # Not by the methods of this class: this is called for each reader of a commit.
        transport = self._transport
        if self._end_reason is not None or transport.get_write_buffer_size() or transport.is_closing():
            return False
        transport.write(data)
        self._written_bytes += len(data)
        return True

    async def drain(self) -> None:
        """Wait until little data waits to be sent. Raises SlowReader; the connection stays open."""
        reserved = self.reservation
        if self._writable():
            return
        waiting = self.waiting_bytes
        if reserved is not None and reserved.size_bytes < waiting and not reserved.resize_now(waiting):
            # Those who do not read have used up what there is for them.
            raise SlowReader
        while not self._writable():
            before = self.waiting_bytes
            try:
                async with asyncio.timeout(self.deadline_s):
                    await self._wait()
            except TimeoutError:
                if self.waiting_bytes > before - PROGRESS_BYTES:
                    raise SlowReader from None

    def abort(self) -> None:
        """Reset the connection at once, and discard its unsent data, even in the kernel."""
        # uvloop raises ValueError once the socket is closed.
        with contextlib.suppress(OSError, AttributeError, ValueError):
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()


class Pace:
    """How fast a client takes a message or an answer that is written in pieces."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._now = asyncio.get_running_loop().time
        self._began, self._written_bytes = self._now(), 0

    async def drain(self, size_bytes: int) -> None:
        """Wait until little of the next piece waits to be sent.

        Raises SlowReader, also for a client that takes its time while others wait for what it has in use.
        """
        await self._connection.drain()
        self._written_bytes += size_bytes
        reserved = self._connection.reservation
        if reserved is None or not reserved.contended:
            return
        deadlines = (self._now() - self._began) / self._connection.deadline_s
        if deadlines > 1 and self._written_bytes < reserved.size_bytes / _CONTENDED_PART * deadlines:
            raise SlowReader


def connection_of(scope: MutableMapping[str, Any]) -> Connection:
    """The connection of an ASGI scope. Raises RuntimeError under another server's protocols."""
    connection = (scope.get("extensions") or {}).get(EXTENSION)
    if not isinstance(connection, Connection):
        raise RuntimeError("streams need the protocols of server.http.websocket_protocol")
    return connection
