"""Connections to Redis-protocol servers that need not be trusted: what they answer is bounded.

The client library reads whatever length a server announces, raises errors of many kinds for what is not the
protocol, and does not give the event loop back while it has data. Here an answer has a bound in bytes and in
items, every error is one of the library's, and a long answer is read in turns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from redis._parsers.resp2 import _AsyncRESP2Parser
from redis.exceptions import InvalidResponse, RedisError
from typing_extensions import override

#: Items after which the event loop gets its turn: about 1 ms.
_TURN_ITEMS = 256
#: Bytes read at a time of a text that is skipped.
_PIECE_BYTES = 64 << 10
#: Longer texts are admitted before they are read.
_SHORT_BYTES = 64 << 10
#: The longest text that a server stores by default (proto-max-bulk-len).
_MAX_TEXT_BYTES = 512 << 20


#: Called with the length of a long text, in bytes; returns when there is room for it.
AdmitText: TypeAlias = Callable[[int], Awaitable[None]]


class Omitted(bytes):
    """Replaces a text that was longer than its limit. `length`: its length in bytes."""

    length = 0


class BoundedParser(_AsyncRESP2Parser):
    """The library's parser of RESP2 with bounds. Use `bounded_parser`."""

    max_bytes = 0
    max_items = 0
    omits_long_texts = False
    admit: AdmitText | None = None
    #: The longest text of the answer that was admitted. A read that timed out begins the answer again.
    _admitted_bytes = 0
    _bytes_left = 0
    _items = 0
    #: Whether a part of a long text was read: then it is unknown where the next answer begins.
    _is_amid_text = False

    @override
    async def read_response(self, disable_decoding: bool = False, **options: Any) -> Any:
        """One answer. Raises RedisError for what is too large or not the protocol."""
        if self._is_amid_text:
            raise InvalidResponse("a long text was not read to its end")
        self._bytes_left, self._items = self.max_bytes, 0
        try:
            answer = await super().read_response(disable_decoding, **options)
            self._admitted_bytes = 0
            return answer
        except (RedisError, OSError):
            raise
        except (ValueError, TypeError, LookupError, RecursionError, OverflowError) as error:
            raise InvalidResponse(
                f"the server's answer is not the protocol's: {type(error).__name__}"
            ) from None

    @override
    async def _readline(self) -> bytes:
        self._items += 1
        if self._items > self.max_items:
            raise InvalidResponse("the server's answer has too many items")
        if self._items % _TURN_ITEMS == 0:
            await asyncio.sleep(0)
        line: bytes = await super()._readline()
        return line

    @override
    async def _read(self, length: int) -> bytes:
        if length < 0:
            raise InvalidResponse("the server announces a negative length")
        if length > self._bytes_left:
            if self.omits_long_texts and length <= _MAX_TEXT_BYTES:
                return await self._omit(length)
            raise InvalidResponse("the server's answer is too large")
        self._bytes_left -= length
        if self.admit is not None and length > max(_SHORT_BYTES, self._admitted_bytes):
            await self.admit(length)
            self._admitted_bytes = length
        text: bytes = await super()._read(length)
        return text

    async def _omit(self, length: int) -> Omitted:
        """Read a long text in pieces, and keep none of them."""
        self._is_amid_text = True
        left = length + 2
        # What was read of it with the line before is in the parser's buffer.
        buffered = max(0, min(left, len(self._buffer) - self._pos))
        self._pos += buffered
        left -= buffered
        while left:
            piece = b"" if self._stream is None else await self._stream.read(min(left, _PIECE_BYTES))
            if not piece:
                raise InvalidResponse("the server closed the connection")
            left -= len(piece)
        self._is_amid_text = False
        # The pieces are not in the buffer: it begins anew with what follows.
        self._buffer, self._pos = b"", 0
        self._chunks.clear()
        omitted = Omitted()
        omitted.length = length
        return omitted


def bounded_parser(
    *, max_bytes: int, max_items: int, omits_long_texts: bool = False, admit: AdmitText | None = None
) -> type[BoundedParser]:
    """The class of parsers for a connection.

    max_bytes: of the texts of an answer. max_items: of its texts, numbers and lists, nested ones too.
    omits_long_texts: whether a text that does not fit is skipped (Omitted) and not an error. admit: awaited
    before a long text is read.
    """
    bounds: dict[str, Any] = {
        "max_bytes": max_bytes,
        "max_items": max_items,
        "omits_long_texts": omits_long_texts,
        "admit": None if admit is None else staticmethod(admit),
    }
    return type("BoundedParser", (BoundedParser,), bounds)
