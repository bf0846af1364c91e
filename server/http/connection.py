"""One client's connection, as the handler of a long stream needs it.

In ASGI a handler learns that its client is gone only from `receive`, which needs a second task, and there is
no deadline for a client that reads nothing. The server's protocols (`server.http.protocols`) therefore put a
`Connection` into each scope, under `EXTENSION`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

from server.domain.errors import ShuttingDown

#: Key of the connection in `scope["extensions"]`.
EXTENSION = "ideo.connection"
#: Seconds within which a client must take at least `PROGRESS_BYTES` of the data that waits for it.
SEND_DEADLINE_S = 10.0
PROGRESS_BYTES = 32 << 10
#: Bytes that may wait in this process for a client before its handler must wait.
HIGH_WATER_BYTES = 256 << 10

_LINGER_NOT = struct.pack("ii", 1, 0)


class ClientGone(Exception):
    """The client closed or lost its connection."""


class ReaderStuck(ClientGone):
    """The client took too little for too long. Its connection ends."""


class Connection:
    """A client's connection. writable: whether little data waits to be sent; wait: returns once it is so."""

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        writable: Callable[[], bool],
        wait: Callable[[], Awaitable[object]],
        deadline_s: float,
    ) -> None:
        self._transport = transport
        self._writable = writable
        self._wait = wait
        self._deadline_s = deadline_s
        self._task: asyncio.Task[Any] | None = None
        self._why: Exception | None = None
        #: Called with each message of a WebSocket's client.
        self.on_message: Callable[[bytes], None] = lambda message: None

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait in this process to be sent."""
        return self._transport.get_write_buffer_size()

    @property
    def ended(self) -> Exception | None:
        """Why the stream cannot continue; None while it can."""
        return self._why

    @contextlib.contextmanager
    def streaming(self) -> Iterator[None]:
        """Leave the block as soon as the stream cannot continue.

        Raises ClientGone when the connection is lost, ShuttingDown when the server stops.
        """
        already = self._why
        if already is not None:
            raise already
        task = asyncio.current_task()
        assert task is not None
        asked_before = task.cancelling()
        self._task = task
        try:
            yield
        except asyncio.CancelledError:
            why = self.ended
            if why is not None and task.uncancel() <= asked_before:
                raise why from None
            raise
        finally:
            self._task = None

    def lost(self) -> None:
        """Called by the protocol when the client is gone."""
        self._end(ClientGone())

    def stop(self) -> bool:
        """Called when the server stops. False when no stream is open that ends itself."""
        return self._end(ShuttingDown())

    def _end(self, why: Exception) -> bool:
        if self._why is None:
            self._why = why
            if self._task is not None:
                self._task.cancel()
        return self._task is not None

    def write(self, data: bytes) -> None:
        """Hand bytes to the transport as they are. Raises ClientGone."""
        if self._transport.is_closing():
            raise ClientGone
        self._transport.write(data)

    async def drain(self) -> None:
        """Wait until little data waits to be sent. Raises ReaderStuck; the connection stays open."""
        while not self._writable():
            before = self.waiting_bytes
            try:
                async with asyncio.timeout(self._deadline_s):
                    await self._wait()
            except TimeoutError:
                if self.waiting_bytes > before - PROGRESS_BYTES:
                    raise ReaderStuck from None

    def abort(self) -> None:
        """Cut the connection at once, and discard the data that waits for it, also in the kernel."""
        with contextlib.suppress(OSError, AttributeError):
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self._transport.abort()


def connection_of(scope: MutableMapping[str, Any]) -> Connection:
    """The connection of an ASGI scope. Raises RuntimeError under another server's protocols."""
    connection = (scope.get("extensions") or {}).get(EXTENSION)
    if not isinstance(connection, Connection):
        raise RuntimeError("streams need the protocols of server.http.protocols")
    return connection
