"""The events of a stream of server-sent events, in bounded memory.

The length of an event is unknown until its end, so room for the largest one is asked for before more than a
little of it is read; an even larger one is skipped.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import NamedTuple

from server.domain.runs.runtime import AdmitFrame, OversizedFrame, StreamClosed

#: Bytes of an event that is not complete that are read without asking for room.
READ_AHEAD_BYTES = 64 << 10
#: Lines of an event: LangGraph's has one for its data, and each takes time. One with more is skipped.
MAX_LINES = 10_000
#: Events of a stream from which no frame is made, comments among them, that may come in so many seconds. The
#: server sends a comment every few seconds, and a few events about the stream.
MAX_EMPTY_EVENTS, EMPTY_EVENTS_S = 200, 20.0
#: The empty line after an event.
_END = re.compile(rb"\r?\n\r?\n")
_LONGEST_END = 4


class ServerEvent(NamedTuple):
    """An event: its name, its data, and its id; the last two may be empty."""

    name: bytes
    data: bytes
    id: bytes


class EmptyEvents:
    """Counts the events of a stream from which no frame is made."""

    def __init__(self) -> None:
        self._count, self._ends_at = 0, 0.0

    def add(self, count: int) -> None:
        """Note some. Raises StreamClosed when there are too many."""
        now = asyncio.get_running_loop().time()
        if now >= self._ends_at:
            self._count, self._ends_at = 0, now + EMPTY_EVENTS_S
        self._count += count
        if self._count > MAX_EMPTY_EVENTS:
            raise StreamClosed("the runtime sends events without content, and no end of them")


class ServerEvents:
    """The events in the pieces of a body, as they come together. Ends with the body.

    Comments, and events without data, are left out, and counted (`empty`). max_bytes: of an event. admit: as
    for `Runtime.stream`. Raises StreamClosed.
    """

    def __init__(self, pieces: AsyncIterator[bytes], *, max_bytes: int, admit: AdmitFrame) -> None:
        self._pieces, self._max_bytes, self._admit = pieces, max_bytes, admit
        #: Of this stream.
        self.empty = EmptyEvents()
        #: What was read of the events that are not given yet.
        self._ahead = bytearray()
        #: Whether there is room for the event at its beginning, and bytes of it that were dropped.
        self._admitted, self._dropped_bytes = False, 0

    def __aiter__(self) -> AsyncIterator[Sequence[ServerEvent | OversizedFrame]]:
        return self

    async def __anext__(self) -> Sequence[ServerEvent | OversizedFrame]:
        while True:
            await self._make_room()
            searched = len(self._ahead)
            self._ahead += await anext(self._pieces)
            found = self._complete(max(searched - _LONGEST_END, 0))
            if found:
                if not self._admitted:
                    await self._admit(sum(len(each.data) for each in found if isinstance(each, ServerEvent)))
                self._admitted = False
                return found

    def _complete(self, search_from: int) -> list[ServerEvent | OversizedFrame]:
        """The events that are complete, which are taken from what was read ahead."""
        ends = list(_END.finditer(self._ahead, search_from))
        found: list[ServerEvent | OversizedFrame] = []
        start = 0
        for end in ends:
            if self._dropped_bytes:
                found.append(OversizedFrame(self._dropped_bytes + end.start()))
                self._dropped_bytes = 0
            elif (
                end.start() - start > self._max_bytes
                or self._ahead.count(b"\n", start, end.start()) > MAX_LINES
            ):
                found.append(OversizedFrame(end.start() - start))
            else:
                found += _event(bytes(memoryview(self._ahead)[start : end.start()]))
            start = end.end()
        del self._ahead[:start]
        if len(found) < len(ends):
            self.empty.add(len(ends) - len(found))
        return found

    async def _make_room(self) -> None:
        """Ask for the room of an event that has become long, or drop what came of one that is too long."""
        if self._dropped_bytes or len(self._ahead) > self._max_bytes:
            # Its end may have begun.
            dropped = max(len(self._ahead) - _LONGEST_END, 0)
            self._dropped_bytes += dropped
            del self._ahead[:dropped]
        elif len(self._ahead) > READ_AHEAD_BYTES and not self._admitted:
            await self._admit(self._max_bytes)
            self._admitted = True


def _event(lines: bytes) -> Iterator[ServerEvent]:
    """The event of these lines, unless it has no data."""
    name = event_id = b""
    data: list[bytes] = []
    for line in lines.split(b"\n"):
        field, _, value = line.removesuffix(b"\r").partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
        elif field == b"id":
            event_id = value
    if data:
        yield ServerEvent(name, data[0] if len(data) == 1 else b"\n".join(data), event_id)
