"""What comes on a connection, offered to its owner as it comes.

asyncio's reader copies what comes twice more, and for each read wakes the task that waits for it: a future
and a turn of the event loop, at the pace of models for each frame of each run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias, cast

from typing_extensions import override

#: Bytes of one read at most, except for what is read whole: as many as all that is done once for a read is
#: worth.
READ_BYTES = 256 << 10
#: Bytes of the largest part of a stream that is read whole, and of what is read with it, so that the next one
#: is known to begin.
WHOLE_BYTES, _AHEAD_BYTES = 256 << 10, 4 << 10
#: Buffers that are kept to read such parts into.
_KEPT_BUFFERS = 8


#: What became of bytes that were offered: how many of them are handled; whether the owner goes on with the
#: rest, fewer than READ_BYTES, once more has come, or `read` returns it; and the bytes of a part, up to
#: WHOLE_BYTES, with which the rest begins and that is to be offered whole, 0 for none.
Offered: TypeAlias = tuple[int, bool, int]
#: Offered what has come and is not handled yet, while the owner waits in `read`. What it raises, `read`
#: raises.
Offer: TypeAlias = Callable[[bytes], Offered]
#: Offered a part that was to be read whole. Returns whether the owner goes on; otherwise `read` returns what
#: comes after it.
OfferWhole: TypeAlias = Callable[[memoryview], bool]


class ReadBuffers:
    """What all connections of an event loop read into.

    They share one buffer, since the loop reads and hands over in one step. A part that is read whole has a
    buffer of its own once a read has brought some of it, and not all.
    """

    #: Bytes of the shared buffer: one read, and before it what an offer has left. Bytes of another.
    SHARED_BYTES, BYTES = 2 * READ_BYTES, WHOLE_BYTES + _AHEAD_BYTES

    def __init__(self) -> None:
        self.shared = memoryview(bytearray(self.SHARED_BYTES))
        self._free: list[memoryview] = []

    def lend(self) -> memoryview:
        """A buffer of one's own."""
        return self._free.pop() if self._free else memoryview(bytearray(self.BYTES))

    def take_back(self, buffer: memoryview) -> None:
        """It is no longer used."""
        if len(self._free) < _KEPT_BUFFERS:
            self._free.append(buffer)


class SocketReader(asyncio.BufferedProtocol):
    """The reading side of a connection. One task reads.

    What comes while nobody waits is one read at most; the rest waits at the sender.
    """

    transport: asyncio.Transport

    def __init__(self, buffers: ReadBuffers) -> None:
        self._buffers = buffers
        self._one_read = buffers.shared[:READ_BYTES]
        #: What has come and is not handled.
        self._left = b""
        self._offer: Offer | None = None
        self._offer_whole: OfferWhole | None = None
        #: Bytes of the part that is read whole, 0 for none; its own buffer, and how many bytes are in it.
        self._whole_bytes = 0
        self._lent: memoryview | None = None
        self._lent_used = 0
        #: Bytes of the buffer that the loop reads into.
        self._wanted_bytes = 0
        #: What `fill` has still to fill.
        self._into: memoryview | None = None
        #: While the owner waits; its result is why nothing more comes, if that ended it.
        self._waiting: asyncio.Future[BaseException | None] | None = None
        self._error: BaseException | None = None
        self._paused = False
        #: Done when the connection is closed.
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def read(self, offer: Offer | None = None, offer_whole: OfferWhole | None = None) -> bytes:
        """The next bytes; none only if `offer` has handled all that came, and did not go on. offer_whole: for
        an `offer` that has parts read whole. Raises EOFError, OSError."""
        self._offer, self._offer_whole = offer, offer_whole
        try:
            if not self._left or self._goes_on():
                await self._wait()
        finally:
            self._offer = self._offer_whole = None
            self._whole_bytes = 0
            if self._lent is not None:
                self._left = bytes(self._lent[: self._lent_used])
                self._return_lent()
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

    def _goes_on(self) -> bool:
        """Offer what has come. Returns whether the owner waits for more."""
        if self._offer is None:
            return False
        used, goes_on, self._whole_bytes = self._offer(self._left)
        self._left = self._left[used:]
        if self._whole_bytes:
            return len(self._left) < self._whole_bytes or self._goes_on_whole(self._left)
        return goes_on

    def _goes_on_whole(self, come: bytes | memoryview) -> bool:
        """Offer the part that is read whole, with which begins what has come. Returns as `_goes_on`."""
        assert self._offer_whole is not None
        at, self._whole_bytes = self._whole_bytes, 0
        self._left = bytes(come[at:])
        return self._offer_whole(memoryview(come)[:at]) and (not self._left or self._goes_on())

    def _come_of_whole(self, size_bytes: int, *, is_waiting: bool) -> bool:
        """Note that so many bytes have come of a part that is read whole. Returns as `_goes_on`."""
        lent = self._lent
        used = size_bytes + (len(self._left) if lent is None else self._lent_used)
        if is_waiting and used < self._whole_bytes:
            if lent is None:
                self._lent = lent = self._buffers.lend()
                lent[:used], self._left = self._buffers.shared[:used], b""
            self._lent_used = used
            return True
        come = (self._buffers.shared if lent is None else lent)[:used]
        if lent is not None:
            self._return_lent()
        if is_waiting:
            return self._goes_on_whole(come)
        self._left, self._whole_bytes = bytes(come), 0
        return False

    def _return_lent(self) -> None:
        if self._lent is not None:
            self._buffers.take_back(self._lent)
            self._lent = None

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
        if self._lent is not None:
            free = self._lent[self._lent_used : self._whole_bytes + _AHEAD_BYTES]
        elif not self._left:
            free = self._one_read
        else:
            kept = len(self._left)
            self._buffers.shared[:kept] = self._left
            end = self._whole_bytes + _AHEAD_BYTES if self._whole_bytes else kept + READ_BYTES
            free = self._buffers.shared[kept:end]
        self._wanted_bytes = len(free)
        return free

    @override
    def buffer_updated(self, nbytes: int) -> None:
        if self._into is not None:
            self._into = self._into[nbytes:]
            if not self._into:
                self._into = None
                self._wake()
            return
        is_waiting = self._waiting is not None and not self._waiting.done()
        more = False
        try:
            if self._whole_bytes:
                more = self._come_of_whole(nbytes, is_waiting=is_waiting)
            else:
                self._left = bytes(self._buffers.shared[: len(self._left) + nbytes])
                more = is_waiting and self._goes_on()
        except Exception as error:
            self._fail(error)
        if not more:
            if self._left:
                self._pause()
            self._wake()
        elif nbytes == self._wanted_bytes:
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


async def open_connection(host: str, port: int, *, buffers: ReadBuffers, **more: Any) -> SocketReader:
    """A connection. more: as for asyncio's `create_connection`. Raises OSError."""
    loop = asyncio.get_running_loop()
    _, reader = await loop.create_connection(lambda: SocketReader(buffers), host, port, **more)
    return reader
