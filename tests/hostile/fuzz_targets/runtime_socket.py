"""Fuzz targets for the bytes of the runtime's WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import cycle
from typing import Any, NamedTuple

from typing_extensions import override
from websockets.client import ClientProtocol
from websockets.frames import DATA_OPCODES, Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from server.compiled import choice
from server.domain.runs.runtime import FrameReceiver, OversizedFrame, StreamClosed, sizes_of
from server.runtime.socket_reader import READ_BYTES, WHOLE_BYTES, ReadBuffers, SocketReader
from server.runtime.websocket import FindMessages, WebSocketFrames, whole_messages
from tests.hostile.fuzz_targets.target import MAX_INPUT, Target

_LOOP = asyncio.new_event_loop()
_COMPILED = choice.compiled_whole_messages(compiled=not choice.why_not_compiled())
_FINDERS = [whole_messages, *([_COMPILED] if _COMPILED else [])]

#: Largest message of `websocket`, and bytes of the pieces in which its bytes come.
_MAX_MESSAGE = 2048
_PIECES_BYTES = (5, MAX_INPUT)

#: Of `websocket_sizes`: largest messages; sizes of frames, to which some bytes are added; those of pieces.
_MAX_MESSAGES = (2048, 70_000, WHOLE_BYTES - 10, WHOLE_BYTES, 1 << 20)
_SIZES = (0, 1, 120, 2040, 65_530, 100_000, 200_000, WHOLE_BYTES - 24, WHOLE_BYTES - 4, 300_000)
_PIECES = (1, 2, 3, 9, 10, 11, 14, 127, 4096, 65_536, 100_000, READ_BYTES - 1, READ_BYTES, 1 << 20)
#: Bytes of a step, how many of them there are, and bytes that they may make.
_STEP_BYTES, _MAX_STEPS, _MAX_SENT = 4, 40, 1 << 20
#: What frames contain: no two have the same.
_CONTENT = b"".join(number.to_bytes(3, "big") for number in range(1 << 17))


class _NoSocket(asyncio.Transport):
    """A connection that nobody reads, and whose bytes are handed over by `_feed`. reads: whether it reads."""

    reads = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """No socket."""

    def is_closing(self) -> bool:
        """No."""
        return False

    def get_write_buffer_size(self) -> int:
        """Nothing waits."""
        return 0

    def write(self, data: Any) -> None:
        """Drop it."""

    def pause_reading(self) -> None:
        """Let the rest wait."""
        self.reads = False

    def resume_reading(self) -> None:
        """Read on."""
        self.reads = True


class _Owner(FrameReceiver):
    """A run that takes so many eighths of the messages that are offered, in turn, and has room for large ones
    where the number is even. It checks that there was room for what it is given."""

    def __init__(self, max_message: int, eighths: Sequence[int]) -> None:
        self._max_message, self._next = max_message, cycle(eighths)
        self._room = 0
        #: None for one that was too large.
        self.messages: list[bytes | None] = []

    @override
    async def admit(self, size_bytes: int) -> None:
        assert 0 <= size_bytes <= max(self._max_message, READ_BYTES)
        self._room = size_bytes

    @override
    def reserve(self, size_bytes: int) -> bool:
        if next(self._next) % 2:
            return False
        self._room += size_bytes
        return True

    @override
    def take(self, frames: Sequence[bytes], size_bytes: int) -> int:
        sizes = sizes_of(frames)
        assert len(sizes) == len(frames) > 0
        assert size_bytes >= sum(sizes)
        # Large ones have room before they are offered.
        assert sizes[0] < READ_BYTES >> 2 or sizes[0] <= self._room
        taken = -(-len(frames) * next(self._next) // 8)
        some = frames[:taken] if taken < len(frames) else frames
        assert list(sizes_of(some)) == [*map(len, some)]
        self.messages.extend(some)
        if taken:
            self._room = 0
        return taken

    def give(self, some: Sequence[bytes | OversizedFrame]) -> None:
        """As from the iteration."""
        assert sum(sizes_of(some)) <= self._room
        self._room = 0
        self.messages += [None if isinstance(each, OversizedFrame) else each for each in some]


async def _feed(reader: SocketReader, socket: _NoSocket, data: memoryview, pieces: Iterator[int]) -> None:
    """Hand over the bytes in pieces, and then the end, as an event loop does."""
    while data:
        await asyncio.sleep(0)
        if not socket.reads:
            continue
        view = reader.get_buffer(-1)
        size = min(len(view), next(pieces), len(data))
        view[:size], data = data[:size], data[size:]
        reader.buffer_updated(size)
    reader.eof_received()


async def _hubs_messages(
    data: bytes, find: FindMessages, pieces: Sequence[int], max_message: int, eighths: Sequence[int]
) -> tuple[list[bytes | None], bool]:
    """The messages that the hub's reader finds in bytes that come in pieces, up to the end; None for one that
    is too large. Whether the end was a proper one."""
    owner = _Owner(max_message, eighths)
    reader = SocketReader(ReadBuffers())
    reader.connection_made(socket := _NoSocket())
    opened = WebSocketFrames(reader, owner, max_frame_bytes=max_message, find=find)
    feeding = asyncio.ensure_future(_feed(reader, socket, memoryview(data), cycle(pieces)))
    try:
        async for some in opened:
            owner.give(some)
    except StreamClosed:
        return owner.messages, False
    finally:
        opened._pinging.cancel()
        feeding.cancel()
    return owner.messages, True


def _found_by_all(
    data: bytes, several: Sequence[Sequence[int]], max_message: int, eighths: Sequence[int]
) -> tuple[list[bytes | None], bool]:
    """What the hub's readers find, which must be the same."""
    found = [
        _LOOP.run_until_complete(_hubs_messages(data, find, pieces, max_message, eighths))
        for find in _FINDERS
        for pieces in several
    ]
    assert all(each == found[0] for each in found)
    return found[0]


def _librarys_messages(data: bytes) -> list[bytes | None]:
    """The messages that the library's parser finds; it stops at the first one that is too large."""
    protocol = ClientProtocol(parse_uri("ws://runtime/"), state=State.OPEN, max_size=_MAX_MESSAGE)
    protocol.receive_data(data)
    messages: list[bytes | None] = []
    parts = b""
    for event in protocol.events_received():
        if isinstance(event, Frame) and event.opcode in DATA_OPCODES:
            parts += bytes(event.data)
            if event.fin:
                messages.append(parts)
                parts = b""
    return messages


def websocket(data: bytes) -> None:
    """A WebSocket's frames: the hub's own reader finds every message that a library finds, and the compiled
    one the same as the one in Python."""
    expected = _librarys_messages(data)
    found, _ = _found_by_all(data, [[each] for each in _PIECES_BYTES], _MAX_MESSAGE, [8])
    assert found[: len(expected)] == expected


class _Broken(Exception):
    """The bytes are not what RFC 6455 allows, or end too early."""


def _simple(data: bytes, max_message: int) -> tuple[list[bytes | None], bool]:
    """The messages in all bytes of a connection, as RFC 6455 says (sections 5.2, 5.4, 5.5), and whether it
    ends with a close of code 1000."""
    messages: list[bytes | None] = []
    at, parts = 0, b""
    in_message = False

    def take(size: int) -> bytes:
        nonlocal at
        if at + size > len(data):
            raise _Broken
        at += size
        return data[at - size : at]

    with suppress(_Broken):
        while True:
            first, second = take(2)
            length = second & 127
            if length >= 126:
                length = int.from_bytes(take(2 if length == 126 else 8), "big")
            opcode, final = first & 15, bool(first & 128)
            if first & 0x70 or second & 128 or opcode not in (0, 1, 2, 8, 9, 10):
                raise _Broken
            if opcode >= Opcode.CLOSE:
                if length > 125 or not final:
                    raise _Broken
                content = take(length)
                if opcode == Opcode.CLOSE:
                    return messages, content[:2] == b"\x03\xe8"
                continue
            if (opcode == Opcode.CONT) is not in_message:
                raise _Broken
            parts += take(length)
            in_message = not final
            if final:
                messages.append(parts if len(parts) <= max_message else None)
                parts = b""
    return messages, False


class _Script(NamedTuple):
    """What an input of `websocket_sizes` says."""

    sent: bytes
    pieces: list[int]
    max_message: int
    eighths: list[int]


def _script(data: bytes) -> _Script:
    """The first two bytes: the largest message, and what is done at the end. Then steps: the first byte of a
    frame; the size of its content, as a place of `_SIZES` and bytes more, and a mask; the next piece, and the
    next answer to an offer."""
    kind, end, *rest = data.ljust(2, b"\0")
    sent, pieces, eighths = bytearray(), list[int](), list[int]()
    for start in range(0, min(len(rest), _MAX_STEPS * _STEP_BYTES) - _STEP_BYTES + 1, _STEP_BYTES):
        first, size, more, come = rest[start : start + _STEP_BYTES]
        pieces.append(_PIECES[come % len(_PIECES)])
        eighths.append(come // len(_PIECES) % 9)
        sent += _frame(first, _SIZES[size % len(_SIZES)] + more % 32, more >> 5, start)
        if len(sent) > _MAX_SENT:
            break
    sent += (b"\x88\x02\x03\xe8", b"\x88\x02\x03\xe9", b"\x88\0", b"")[end % 4]
    if end & 4:
        del sent[-1 - (end >> 3) :]
    # Not all pieces are small: some of a frame of 300,000 bytes is enough.
    return _Script(bytes(sent), [*pieces, 1 << 16], _MAX_MESSAGES[kind % len(_MAX_MESSAGES)], eighths or [8])


def _frame(first: int, length: int, form: int, number: int) -> bytes:
    """A frame. first: its first byte. form: how its length is written, and one of eight with a mask."""
    if first & 8:
        length %= 128
    begin = number * 997 % 4096
    content = _CONTENT[begin : begin + length]
    mask = 128 if form == 7 else 0
    if form < 5 and length < 126:
        head = bytes((first, mask | length))
    elif form < 6 and length < 1 << 16:
        head = bytes((first, mask | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((first, mask | 127)) + length.to_bytes(8, "big")
    return head + content


def websocket_sizes(data: bytes) -> None:
    """Frames of all sizes, with and without masks, in fragments, in pieces of all sizes, to a run that takes
    some of them: the hub finds what a simple reader finds, and has room for it first."""
    script = _script(data)
    found = _found_by_all(script.sent, [script.pieces, [1 << 20]], script.max_message, script.eighths)
    assert found == _simple(script.sent, script.max_message)


def _steps(largest: int, end: int, *steps: tuple[int, int, int, int]) -> bytes:
    return bytes((largest, end)) + b"".join(map(bytes, steps))


_TEXT, _BINARY, _FIRST, _NEXT, _LAST, _PING = 0x81, 0x82, 0x01, 0x00, 0x80, 0x89

TARGETS = {
    "websocket": Target(
        websocket,
        [
            b"\x81\x05hello\x82\x03abc\x89\x02hi\x88\x02\x03\xe8",
            b"\x01\x03Hel\x89\x00\x80\x02lo\x81\x7e\x00\x80" + b"x" * 128 + b"\x8a\x00",
            b"\x81\x7e\x08\x01" + b"x" * 2049 + b"\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x01y",
        ],
    ),
    "websocket_sizes": Target(
        websocket_sizes,
        [
            _steps(4, 0, (_TEXT, 5, 0, 13), (_TEXT, 2, 9, 9 + 14 * 8), (_BINARY, 6, 3, 8), (_TEXT, 4, 6, 12)),
            _steps(4, 0, *((_TEXT, size, size, 7 + 14 * (size % 9)) for size in range(10))),
            _steps(3, 1, (_FIRST, 1, 5, 3), (_PING, 2, 5, 11), (_NEXT, 5, 0, 9), (_LAST, 4, 8, 10)),
            _steps(
                1, 2, (_TEXT, 4, 31, 6), (_TEXT, 9, 0, 13), (_BINARY, 3, 32 * 5, 1), (_TEXT, 5, 32 * 6, 0)
            ),
            _steps(
                2, 0, (_TEXT, 7, 14, 13 + 14 * 8), (_TEXT, 7, 13, 11), (_TEXT, 8, 0, 12), (_TEXT, 1, 224, 9)
            ),
            _steps(4, 4 + 8 * 20, *((_TEXT, 5, size, 13 + 14 * 8) for size in range(6))),
        ],
    ),
}
