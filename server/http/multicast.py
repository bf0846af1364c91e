"""The same bytes to many readers' connections: a call of the kernel for each, and nothing else (ADR 0080).

Between two commits all that belongs to a reader leaves the processor's caches: its connection, its transport,
and what the event loop has for it. So connections that can be sent to are known by the descriptors of their
sockets, which lie together.

1. Nobody gets the bytes of another. A descriptor is free for the next connection once its socket is closed.
   asyncio and uvloop call the protocol's `connection_lost` before they close it, and by then it is forgotten.
   Only the event loop's thread closes these sockets: a connection in the group is in use, so no garbage.
2. Bytes stay in order. A descriptor is forgotten as soon as bytes wait in its transport, such as the rest of
   what its socket did not take, or a ping; when the connection is being closed; and when its stream ends.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Sequence

from server.http.connection import Connection

#: Sends the same bytes to sockets, without waiting: the descriptors of these, as C ints, and the bytes. Gives
#: the places of those that did not take all, and how many bytes each took.
SendToAll = Callable[[bytes, bytes], Sequence[tuple[int, int]]]


def send_to_all(descriptors: bytes, data: bytes) -> Sequence[tuple[int, int]]:
    """As SendToAll, in Python: while a thread computes, the interpreter may go to that for each socket."""
    size, rests = len(data), list[tuple[int, int]]()
    for place, descriptor in enumerate(memoryview(descriptors).cast("i")):
        try:
            sent = os.write(descriptor, data)
        except OSError:
            # It is full, or the connection is lost: the transport finds out.
            sent = 0
        if sent != size:
            rests.append((place, sent))
    return rests


class Multicast:
    """Implements `Group` of `server.domain.streams.live_end`, for the event loop's thread. send: in Python or
    compiled."""

    def __init__(self, send: SendToAll = send_to_all) -> None:
        self._send = send
        #: Those that can be sent to, by the descriptors of their sockets.
        self._ready: dict[int, Connection] = {}
        #: Those descriptors in their order; None while it is not known.
        self._descriptors: bytes | None = None
        #: Those that cannot take the next bytes at once.
        self._late: set[Connection] = set()
        #: Bytes that each got that was in the group all the time.
        self.written_bytes = 0

    def add(self, writer: Connection) -> None:
        """As of Group."""
        if writer.join(self):
            self._ready[writer.descriptor] = writer
            self._descriptors = None
        else:
            self._late.add(writer)

    def remove(self, writer: Connection) -> None:
        """As of Group."""
        if not self._forget(writer):
            self._late.discard(writer)

    def hold_back(self, writer: Connection) -> None:
        """Bytes wait to be sent to a connection, or no more may follow."""
        if self._forget(writer):
            self._late.add(writer)

    def _forget(self, writer: Connection) -> bool:
        """Forget a descriptor. Returns whether it was known: the same number may be another one's by now."""
        known = writer.leave(self)
        if known:
            del self._ready[writer.descriptor]
            self._descriptors = None
        return known

    def write(self, data: bytes) -> Sequence[Connection]:
        """As of Group. What a socket does not take is left to its transport."""
        late: list[Connection] = []
        if self._late:
            late = list(self._late)
            self._late.clear()
        descriptors = self._descriptors
        if descriptors is None:
            descriptors = self._descriptors = array("i", sorted(self._ready)).tobytes()
        rests = self._send(descriptors, data)
        self.written_bytes += len(data)
        for place, sent in rests:
            writer = self._ready[memoryview(descriptors).cast("i")[place]]
            self.hold_back(writer)
            writer.send_rest(memoryview(data)[sent:])
        return late
