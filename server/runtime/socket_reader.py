"""What comes on a connection, offered to its owner as it comes.

asyncio's reader copies what comes twice more, and for each read wakes the task that waits for it: a future
and a turn of the event loop, at the pace of models for each frame of each run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias, cast

from typing_extensions import override

#: Bytes of one read at most: as many as all that is done once for a read is worth.
READ_BYTES = 256 << 10
#: Bytes of a buffer to read into: one read, and before it what an offer has left.
BUFFER_BYTES = 2 * READ_BYTES

#: Offered what has come and is not handled yet, while the owner waits in `read`. Returns how many of the
#: bytes it has handled, and whether it goes on with the rest, fewer than READ_BYTES, once more has come;
#: otherwise `read` returns the rest. What it raises, `read` raises.
Offer: TypeAlias = Callable[[bytes], tuple[int, bool]]


class SocketReader(asyncio.BufferedProtocol):
    """The reading side of a connection. One task reads.

    buffer: BUFFER_BYTES to read into. All connections of an event loop may share it: the loop reads and hands
    over in one step. What comes while nobody waits is one read at most; the rest waits at the sender.
    """

    transport: asyncio.Transport

    def __init__(self, buffer: bytearray) -> None:
        self._buffer = memoryview(buffer)
        self._one_read = self._buffer[:READ_BYTES]
        #: What has come and is not handled.
        self._left = b""
        self._offer: Offer | None = None
        #: What `fill` has still to fill.
        self._into: memoryview | None = None
        #: While the owner waits; its result is why nothing more comes, if that ended it.
        self._waiting: asyncio.Future[BaseException | None] | None = None
        self._error: BaseException | None = None
        self._paused = False
        #: Done when the connection is closed.
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def read(self, offer: Offer | None = None) -> bytes:
        """The next bytes; none only if `offer` has handled all that came, and did not go on. Raises EOFError,
        OSError."""
        if not self._left or (offer is not None and self._goes_on(offer)):
            self._offer = offer
            try:
                await self._wait()
            finally:
                self._offer = None
        left, self._left = self._left, b""
        return left

    async def fill(self, into: memoryview) -> None:
        """Read until all of this is filled. Raises EOFError, OSError."""
        begun = min(len(self._left), len(into))
        into[:begun], self._left = self._left[:begun], self._left[begun:]
        if begun < len(into):
            self._into = into[begun:]
            try:
                await self._wait()
            finally:
                self._into = None

    def unread(self, data: bytes) -> None:
        """Give bytes back: `read` returns them next."""
        self._left = data + self._left

    def _goes_on(self, offer: Offer) -> bool:
        """Offer what has come. Returns whether the owner waits for more."""
        used, more = offer(self._left)
        self._left = self._left[used:]
        return more

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiting = asyncio.get_running_loop().create_future()
        self._resume()
        try:
            error = await self._waiting
        finally:
            self._waiting = None
        if error is not None:
            raise error

    @property
    def _is_waiting(self) -> bool:
        return self._waiting is not None and not self._waiting.done()

    def _wake(self, error: BaseException | None = None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(error)

    def _fail(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error
        self._wake(error)

    def _pause(self) -> None:
        if not self._paused and not self.transport.is_closing():
            self.transport.pause_reading()
            self._paused = True

    def _resume(self) -> None:
        if self._paused and self._error is None and not self.transport.is_closing():
            self.transport.resume_reading()
            self._paused = False

    def _resume_if_waiting(self) -> None:
        if self._is_waiting:
            self._resume()

    # --- For the event loop ------------------------------------------------------------------

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of no class of asyncio's.
        self.transport = cast(asyncio.Transport, transport)

    @override
    def get_buffer(self, sizehint: int) -> Any:
        if self._into is not None:
            return self._into
        if not self._left:
            return self._one_read
        kept = len(self._left)
        self._buffer[:kept] = self._left
        return self._buffer[kept : kept + READ_BYTES]

    @override
    def buffer_updated(self, nbytes: int) -> None:
        if self._into is not None:
            self._into = self._into[nbytes:]
            if not self._into:
                self._into = None
                self._wake()
            return
        self._left, more = bytes(self._buffer[: len(self._left) + nbytes]), False
        if self._offer is not None and self._is_waiting:
            try:
                more = self._goes_on(self._offer)
            except Exception as error:
                self._fail(error)
        if not more:
            if self._left:
                self._pause()
            self._wake()
        elif nbytes == READ_BYTES:
            # Others have their turn: uvloop would read on at once.
            self._pause()
            asyncio.get_running_loop().call_soon(self._resume_if_waiting)

    @override
    def eof_received(self) -> bool:
        self._fail(EOFError())
        # What waits to be written is written, which TLS does not allow.
        return self.transport.get_extra_info("sslcontext") is None

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or EOFError())
        if not self.closed.done():
            self.closed.set_result(None)


async def open_connection(host: str, port: int, *, buffer: bytearray, **more: Any) -> SocketReader:
    """A connection, to be read into a buffer. more: as for asyncio's `create_connection`. Raises OSError."""
    loop = asyncio.get_running_loop()
    _, reader = await loop.create_connection(lambda: SocketReader(buffer), host, port, **more)
    return reader
