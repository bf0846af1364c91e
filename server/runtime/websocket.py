"""The reading side of a WebSocket (RFC 6455), once it is open.

The library's own connection reads a number of frames ahead, whatever their size, and ends when one is too
large. Here the length in a frame's header is known before its content is read, so that a frame waits at the
sender until there is room for it, and one that is too large is skipped.
"""

from __future__ import annotations

import asyncio
import socket
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from fcntl import ioctl
from io import BytesIO
from termios import FIONREAD
from typing import TypeAlias

from websockets.frames import Close, Frame, Opcode

from server.domain.off_loop import SMALL_BYTES
from server.domain.runs.runtime import FrameReceiver, Frames, OversizedFrame, StreamClosed, sizes_of
from server.domain.shared_times import shared_time
from server.runtime.socket_reader import READ_BYTES, WHOLE_BYTES, Offered, ReadBuffers, SocketReader

#: Bytes of answers to pings that may wait to be sent.
MAX_UNSENT_BYTES = 64 << 10
#: Seconds that the end of a connection may take.
CLOSE_S = 0.2
#: Seconds between pings, which keep intermediaries from closing the connection. A runtime that is busy with a
#: run may not answer one: the reader decides how long a silence may last.
PING_S = 20.0
#: Frames, each read by itself, before other work gets a turn; frames without content, such as pings, that may
#: come in PING_S; and fragments of a message.
TURN_FRAMES, MAX_EMPTY_FRAMES, MAX_FRAGMENTS = 64, 1_000, 64 << 10
_NORMAL_CLOSURE = 1000
#: The kernel's state of a connection that the other side closed (Linux, `tcpi_state`).
_CLOSE_WAIT = 8
_MAX_CONTROL_BYTES = 125
#: First bytes of a frame that is a whole message: text, binary.
_WHOLE = frozenset(0x80 | opcode for opcode in (Opcode.TEXT, Opcode.BINARY))
#: This length says that the frame's length follows in two bytes; a greater one, in eight or behind a mask.
_TWO_BYTES_FOLLOW = 126
_SHORT_HEAD_BYTES = 4
#: Likewise for eight bytes, and lengths from here on.
_EIGHT_BYTES_FOLLOW, _LONG_HEAD_BYTES, _LONG_BYTES = 127, 10, 1 << 16
_OPCODES = {opcode.value: opcode for opcode in Opcode}

#: Finds the messages in what was read ahead, as `whole_messages`.
FindMessages: TypeAlias = Callable[[bytes, int, int], tuple[Sequence[bytes], int]]


def whole_messages(ahead: bytes, used: int, max_frame_bytes: int) -> tuple[list[bytes], int]:
    """The messages that lie whole in what was read ahead, each in one frame of less than 64 KiB, up to the
    first that does not; and how many bytes are used then. used: those before them."""
    at, size_bytes = used, len(ahead)
    messages: list[bytes] = []
    while size_bytes - at > _SHORT_HEAD_BYTES and ahead[at] in _WHOLE:
        length, start = ahead[at + 1], at + 2
        if length == _TWO_BYTES_FOLLOW:
            length, start = ahead[at + 2] << 8 | ahead[at + 3], at + 4
        elif length > _TWO_BYTES_FOLLOW:
            break
        if start + length > size_bytes or length > max_frame_bytes:
            break
        at = start + length
        messages.append(ahead[start:at])
    return messages, at


class WebSocketFrames:
    """The messages of an open connection: its text and binary frames, and those in fragments as one.

    Ends at a close with 1000, and raises StreamClosed at any other end.
    """

    def __init__(
        self,
        reader: SocketReader,
        receiver: FrameReceiver,
        *,
        max_frame_bytes: int,
        find: FindMessages = whole_messages,
    ) -> None:
        self._reader, self._transport, self._receiver = reader, reader.transport, receiver
        self._max_frame_bytes, self._find = max_frame_bytes, find
        #: Bytes read ahead, often many frames at once, and how many of them have been used.
        self._ahead, self._used = b"", 0
        #: Messages before these that the receiver has left.
        self._found: Sequence[bytes] = []
        #: A large message before these that the receiver has left: there is room for it already.
        self._large: bytes | None = None
        self._pinging = self._schedule_ping()
        #: The content of the last ping, until it is answered.
        self._unanswered: bytes | None = None
        #: Frames that were read one by one, and those without content since the last ping of the hub's.
        self._headers = self._empty_frames = 0

    def __aiter__(self) -> Frames:
        return self

    async def __anext__(self) -> Sequence[bytes | OversizedFrame]:
        try:
            if self._has_begun(self._ahead, self._used) or self._large_bytes(self._ahead, self._used):
                self._answer_ping()
                # A ping is answered when the reader goes on.
                offer = self._take_messages if self._unanswered is None else None
                self._reader.unread(self._ahead[self._used :])
                self._ahead, self._used = await self._reader.read(offer, self._take_large), 0
            large, self._large = self._large, None
            if large is not None:
                return [large]
            messages, self._found = self._found, []
            if not messages:
                messages, self._used = self._find(self._ahead, self._used, self._max_frame_bytes)
            if not messages:
                return [await self._message()]
            await self._receiver.admit(sum(sizes_of(messages)))
            return messages
        except (EOFError, OSError):
            raise StreamClosed("the connection to the runtime broke") from None

    async def close(self) -> None:
        """Close the connection; what the server still sends is not read."""
        self._pinging.cancel()
        with suppress(OSError, StreamClosed):
            self._send(Opcode.CLOSE, Close(_NORMAL_CLOSURE, "").serialize())
            self._transport.close()
            await asyncio.wait({self._reader.closed}, timeout=CLOSE_S)
        self._transport.abort()

    def _take_messages(self, data: bytes) -> Offered:
        """Offer the messages that lie whole in what has come to the receiver. As an `Offer`."""
        messages, used = self._find(data, 0, self._max_frame_bytes)
        if messages:
            taken = self._receiver.take(messages, used)
            if taken < len(messages):
                self._found = messages[taken:]
                return used, False, 0
        if used == len(data) or self._has_begun(data, used):
            return used, True, 0
        large_bytes = self._large_bytes(data, used)
        if large_bytes and self._receiver.reserve(ReadBuffers.BYTES):
            return used, True, large_bytes
        return used, False, 0

    def _take_large(self, frame: memoryview) -> bool:
        """Offer a large message to the receiver. As an `OfferWhole`."""
        message = bytes(frame[_LONG_HEAD_BYTES:])
        if self._receiver.take([message], len(frame)):
            return True
        self._large = message
        return False

    def _has_begun(self, data: bytes, at: int) -> bool:
        """Whether nothing has come at `at`, or the beginning of a message that `whole_messages` finds once it
        is whole."""
        size_bytes = len(data) - at
        if size_bytes and data[at] not in _WHOLE:
            return False
        if size_bytes < 2:
            return True
        length, head_bytes = data[at + 1], 2
        if length == _TWO_BYTES_FOLLOW:
            if size_bytes < _SHORT_HEAD_BYTES:
                return True
            length, head_bytes = data[at + 2] << 8 | data[at + 3], _SHORT_HEAD_BYTES
        elif length > _TWO_BYTES_FOLLOW:
            return length == _EIGHT_BYTES_FOLLOW and size_bytes < _LONG_HEAD_BYTES
        frame_bytes = head_bytes + length
        return size_bytes < frame_bytes <= READ_BYTES and length <= self._max_frame_bytes

    def _large_bytes(self, data: bytes, at: int) -> int:
        """Bytes of the frame that begins at `at`, if it is a message of 64 KiB or more that is read whole."""
        if len(data) - at < _LONG_HEAD_BYTES or data[at] not in _WHOLE or data[at + 1] != _EIGHT_BYTES_FOLLOW:
            return 0
        length = int.from_bytes(data[at + 2 : at + _LONG_HEAD_BYTES], "big")
        largest = min(self._max_frame_bytes, WHOLE_BYTES - _LONG_HEAD_BYTES)
        return _LONG_HEAD_BYTES + length if _LONG_BYTES <= length <= largest else 0

    async def _message(self) -> bytes | OversizedFrame:
        """The next message. Room is asked for before a fragment for which there is none yet is read: then for
        the largest message, since runs that wait for more while they have some could wait for each other."""
        message = bytearray()
        size_bytes = fragments = admitted_bytes = 0
        started = False
        while True:
            final, opcode, length = await self._header()
            if opcode >= Opcode.CLOSE:
                await self._on_control(opcode, length)
                self._count_empty_frame()
                continue
            fragments += 1
            if fragments > MAX_FRAGMENTS:
                raise _protocol_error()
            if not length and not final:
                self._count_empty_frame()
            if started is not (opcode is Opcode.CONT):
                raise _protocol_error()
            size_bytes += length
            if size_bytes > self._max_frame_bytes:
                message.clear()
                await self._skip(length)
            else:
                if size_bytes > admitted_bytes or not started:
                    admitted_bytes = self._room_for(size_bytes, whole=final and not started)
                    await self._receiver.admit(admitted_bytes)
                content = await self._exactly(length)
                if final and not started:
                    return content
                message += content
            started = True
            if final:
                oversized = size_bytes > self._max_frame_bytes
                return OversizedFrame(size_bytes) if oversized else bytes(message)

    def _room_for(self, size_bytes: int, *, whole: bool) -> int:
        """Bytes to ask room for, for so many of a message. whole: whether these are all."""
        if whole:
            return size_bytes
        return min(SMALL_BYTES if size_bytes <= SMALL_BYTES else self._max_frame_bytes, self._max_frame_bytes)

    def _count_empty_frame(self) -> None:
        """Note a frame that says nothing. Raises StreamClosed when there are too many."""
        self._empty_frames += 1
        if self._empty_frames > MAX_EMPTY_FRAMES:
            raise StreamClosed("the runtime sends frames without content, and no end of them")

    async def _header(self) -> tuple[bool, Opcode, int]:
        """Whether the next frame is the last of its message, its kind, and the length of its content."""
        self._headers += 1
        if self._headers % TURN_FRAMES == 0:
            # Thousands of them may have been read ahead: none is waited for.
            await asyncio.sleep(0)
        self._answer_ping()
        first, second = await self._exactly(2)
        length = second & 0x7F
        if length >= 126:
            length = int.from_bytes(await self._exactly(2 if length == 126 else 8), "big")
        opcode = _OPCODES.get(first & 0x0F)
        # Reserved bits, a mask, which only a client uses, and fragments of a control frame.
        if opcode is None or first & 0x70 or second & 0x80 or (opcode >= Opcode.CLOSE and not first & 0x80):
            raise _protocol_error()
        return bool(first & 0x80), opcode, length

    async def _on_control(self, opcode: Opcode, length: int) -> None:
        """Note a ping. At a close raises StopAsyncIteration or StreamClosed."""
        if length > _MAX_CONTROL_BYTES:
            raise _protocol_error()
        content = await self._exactly(length)
        if opcode is Opcode.PING:
            self._unanswered = content
        elif opcode is Opcode.CLOSE:
            code = int.from_bytes(content[:2], "big") if len(content) >= 2 else 1005
            if code == _NORMAL_CLOSURE:
                raise StopAsyncIteration
            raise StreamClosed(f"the runtime closed its stream with code {code}")

    async def _exactly(self, length: int) -> bytes:
        """The next bytes. Raises EOFError."""
        if length <= _MAX_CONTROL_BYTES:
            while len(self._ahead) - self._used < length:
                self._ahead, self._used = self._ahead[self._used :] + await self._reader.read(), 0
        end = self._used + length
        if end <= len(self._ahead):
            content, self._used = self._ahead[self._used : end], end
            return content
        begun = len(self._ahead) - self._used
        # Filled in place, and its value is not a copy.
        filled = BytesIO(bytes(length))
        with filled.getbuffer() as view:
            view[:begun] = memoryview(self._ahead)[self._used :]
            self._ahead, self._used = b"", 0
            await self._reader.fill(view[begun:])
        return filled.getvalue()

    async def _skip(self, length: int) -> None:
        while length:
            if self._used == len(self._ahead):
                self._ahead, self._used = await self._reader.read(), 0
            skipped = min(length, len(self._ahead) - self._used)
            self._used += skipped
            length -= skipped

    def _schedule_ping(self) -> asyncio.TimerHandle:
        loop = asyncio.get_running_loop()
        return loop.call_at(shared_time(loop.time() + PING_S, PING_S), self._ping)

    def _ping(self) -> None:
        self._pinging = self._schedule_ping()
        self._empty_frames = 0
        with suppress(OSError, StreamClosed):
            self._answer_ping()
            if self._is_caught_up():
                self._send(Opcode.PING, b"")

    def _answer_ping(self) -> None:
        """Answer the last ping as soon as nothing that came after it waits to be read."""
        if self._unanswered is not None and self._is_caught_up():
            content, self._unanswered = self._unanswered, None
            self._send(Opcode.PONG, content)

    def _is_caught_up(self) -> bool:
        """Whether nothing waits to be read. While something does, the server may have left, as it does after
        the `end`: it would answer a frame with a reset, and what waits would be lost."""
        connected = self._transport.get_extra_info("socket")
        if connected is None or not hasattr(socket, "TCP_INFO"):
            return True
        if connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _CLOSE_WAIT:
            return False
        waiting = array("i", [0])
        ioctl(connected.fileno(), FIONREAD, waiting)
        return not waiting[0]

    def _send(self, opcode: Opcode, content: bytes) -> None:
        if self._transport.is_closing():
            # uvloop's transport raises RuntimeError then.
            return
        if self._transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            raise StreamClosed("the runtime does not take the answers to its pings")
        self._transport.write(Frame(opcode, content).serialize(mask=True))


def _protocol_error() -> StreamClosed:
    return StreamClosed("the runtime broke the WebSocket protocol")
