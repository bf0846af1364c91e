"""While strangers flood, what comes on connections without a caller waits in the kernel (ADR 0081).

What a connection sends is in grpc's core before anybody knows whose it is, up to a thousand calls of each.
From there grpc hands out the calls of all connections in one order, and each costs the event loop 20 to 40
µs, also when it is dropped. Here:

1. While there are more calls of strangers and of new connections than `FLOOD`, a connection on which nobody
   was identified is held: grpc is not woken for what arrives there (SO_RCVLOWAT), nor by its end, which a
   filter drops. A new connection has both from the socket that listens.
2. Held connections take turns. One that has its turn is read until grpc has taken what waited there. Of
   those with at most `LITTLE_BYTES`, the newest and the one held longest have it alternately; of those with
   more, the one held longest.
3. All connections with more than that together may have `MAX_UNREAD_BYTES` waiting: those that came last are
   closed unread.
4. A connection whose client leaves while it is held is closed unread. The gate sees that the kernel has
   dropped packets there. The kernel also drops some for other reasons, such as a full buffer: those clients
   connect again.

More than a MiB on one connection is read at once. The gate works only on Linux.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import socket
import struct
import sys
import termios
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress

from server.domain.rates import Rate, TokenBucket
from server.grpc.hang_ups import shut_down
from server.grpc.sockets import Place, Sockets, peer_of

#: Calls from which on they are a flood, and seconds without more than these until it has ended.
FLOOD, QUIET_S = Rate(burst=100, per_s=300), 1.0
#: Bytes up to which little waits on a connection, and how many connections with little are read.
LITTLE_BYTES, OF_LITTLE = 2 << 10, Rate(burst=50, per_s=400)
#: Bytes that are read of connections with more, and how many of these may wait.
OF_MUCH, MAX_UNREAD_BYTES = Rate(burst=32 << 10, per_s=128 << 10), 256 << 10
#: Connections that are closed in a turn of the event loop.
_CLOSED_AT_ONCE = 16
#: Bytes from which on grpc is woken for a connection that is held.
_HELD_BYTES = 1 << 20
#: A filter of the kernel that drops the end of a connection: packets with FIN or RST (their byte 13).
_ENDS = b"".join(
    struct.pack("=HBBI", *step)
    for step in ((0x30, 0, 0, 13), (0x45, 0, 1, 5), (6, 0, 0, 0), (6, 0, 0, 0xFFFFFFFF))
)
_ENDS_BUFFER = ctypes.create_string_buffer(_ENDS)
_ENDS_FILTER = struct.pack("@HP", len(_ENDS) // 8, ctypes.addressof(_ENDS_BUFFER))
_SO_ATTACH_FILTER, _SO_DETACH_FILTER, _SO_MEMINFO = 26, 27, 55
#: In what the kernel knows of a connection's memory, how many packets it has dropped.
_DROPS = struct.Struct("=32xI")
#: Seconds between two searches for connections, and how many times as long as one took.
_PERIOD_S, _REST = 0.005, 9
#: Seconds after which it is looked whether a connection was read: what it sends until then is read, too.
_TURN_S = 0.001
#: In what the kernel knows of a socket that listens, how many connections wait to be accepted.
_NOT_ACCEPTED = struct.Struct("=24xI")
#: More packets than are dropped.
_NO_MORE = 1 << 32
#: Bytes that are dropped at a time; they are not copied.
_DROPPED = bytearray(64 << 10)


class FloodGate:
    """Holds the connections of one server. is_known: whether somebody was identified on a connection, by
    what grpc calls it; closed: called for each that is closed; now: in seconds."""

    def __init__(
        self,
        sockets: Sockets,
        is_known: Callable[[str], bool],
        closed: Callable[[], None] = lambda: None,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sockets, self._is_known, self._closed, self._now = sockets, is_known, closed, now
        self._calls = TokenBucket(FLOOD)
        self._shut: asyncio.Task[None] | None = None
        #: The connections of the last search: those that are read whatever comes; those whose turn it is,
        #: with what they had sent; the others, which are held.
        self._free: set[Place] = set()
        self._in_turn: dict[Place, _Waiting] = {}
        self._held: dict[Place, _Held] = {}

    @property
    def is_shut(self) -> bool:
        """Whether connections are held."""
        return self._shut is not None

    def count(self) -> None:
        """Count a call of a stranger, or of a new connection."""
        if self._calls.take(1, self._now()) and self._shut is None and sys.platform == "linux":
            self._shut = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """Hold none: the server ends."""
        if self._shut is not None:
            self._shut.cancel()

    async def _run(self) -> None:
        with ExitStack() as stack:
            # Open until the end: then there may be no more file descriptors.
            listening = [stack.enter_context(each) for each in self._sockets.listening()]
            try:
                for each in listening:
                    _hold(each)
                await self._take_turns()
            finally:
                for each in listening:
                    _let_go(each)
                try:
                    await self._release_all(listening)
                finally:
                    self._shut = None

    async def _take_turns(self) -> None:
        little, much = TokenBucket(OF_LITTLE), TokenBucket(OF_MUCH)
        self._free, self._in_turn, self._held = set(), {}, {}
        last = self._now()
        while self._now() - last < QUIET_S:
            waiting, left, took_s = await self._search()
            await self._close(left)
            await self._close(_beyond(self._give_turns(waiting, little, much)))
            if waiting or left or self._calls.over_s(self._now()):
                last = self._now()
            pause_s = max(_PERIOD_S, _REST * took_s)
            while self._in_turn and pause_s > 0:
                await asyncio.sleep(_TURN_S)
                pause_s -= _TURN_S
                self._end_turns()
            await asyncio.sleep(max(pause_s, 0))

    async def _search(self) -> tuple[list[_Waiting], list[_Waiting], float]:
        """What waits, that which was held first in front; those that their clients have left; and the seconds
        that the search took."""
        waiting, left = list[_Waiting](), list[_Waiting]()
        seen: set[Place] = set()

        def found(descriptor: int, place: Place) -> None:
            seen.add(place)
            held = self._look(descriptor, place)
            if held is None:
                return
            unread = _unread_bytes(descriptor)
            if _drops(descriptor) > held.drops:
                held.drops = _NO_MORE
                left.append(_Waiting(descriptor, place, unread))
            elif unread:
                waiting.append(_Waiting(descriptor, place, unread))

        took_s = await self._sockets.search(found)
        self._free &= seen
        for those in (self._in_turn, self._held):
            for gone in those.keys() - seen:
                del those[gone]
        waiting.sort(key=lambda each: self._held[each.place].since)
        return waiting, left, took_s

    def _look(self, descriptor: int, place: Place) -> _Held | None:
        """Hold a connection, unless its caller is known, or it has its turn."""
        if place in self._free or place in self._in_turn:
            return None
        if self._is_known(peer_of(place)):
            self._set_free(descriptor, place)
            return None
        if place not in self._held:
            self._hold(descriptor, place)
        return self._held.get(place)

    def _hold(self, descriptor: int, place: Place) -> None:
        drops = 0

        def hold(connection: socket.socket) -> None:
            nonlocal drops
            # What was dropped since it was accepted counts.
            drops = 0 if _is_held(connection) else _drops(descriptor)
            _hold(connection)

        if self._sockets.use(descriptor, place, hold):
            self._held[place] = _Held(self._now(), drops)

    def _set_free(self, descriptor: int, place: Place) -> None:
        self._in_turn.pop(place, None)
        self._held.pop(place, None)
        if self._sockets.use(descriptor, place, _let_go):
            self._free.add(place)

    def _give_turns(
        self, waiting: list[_Waiting], little: TokenBucket, much: TokenBucket
    ) -> Iterable[_Waiting]:
        """Returns those that sent much, and whose turn is not now."""
        now = self._now()
        small = deque(each for each in waiting if each.unread <= LITTLE_BYTES)
        large = deque(each for each in waiting if each.unread > LITTLE_BYTES)
        newest = False
        while small and not little.over_s(now):
            newest = not newest
            little.take(1, now)
            self._give_turn(small.pop() if newest else small.popleft())
        while large and not much.over_s(now):
            much.take(large[0].unread, now)
            self._give_turn(large.popleft())
        return large

    async def _close(self, some: Iterable[_Waiting]) -> None:
        """Close connections unread."""
        closed = 0
        for each in some:
            if self._sockets.use(each.descriptor, each.place, _close_unread):
                self._closed()
                closed += 1
                if closed % _CLOSED_AT_ONCE == 0:
                    await asyncio.sleep(0)

    def _give_turn(self, waiting: _Waiting) -> None:
        if self._sockets.use(waiting.descriptor, waiting.place, _let_go):
            del self._held[waiting.place]
            self._in_turn[waiting.place] = waiting

    def _end_turns(self) -> None:
        """Hold again what was read, or sends much more meanwhile."""
        for place, had in list(self._in_turn.items()):
            if not 0 < _unread_bytes(had.descriptor) <= max(had.unread, LITTLE_BYTES):
                del self._in_turn[place]
                self._hold(had.descriptor, place)

    async def _release_all(self, listening: Sequence[socket.socket]) -> None:
        """Have all connections be read, those too that grpc has not accepted yet. It is tried again while
        there are no file descriptors to look for them with."""
        left = 1

        def found(descriptor: int, place: Place) -> None:
            nonlocal left
            if place in self._free:
                return
            if self._sockets.use(descriptor, place, release):
                self._free.add(place)
            else:
                left += 1

        def release(connection: socket.socket) -> None:
            nonlocal left
            left += _is_held(connection)
            _let_go(connection)

        while left:
            left = sum(map(_not_accepted, listening))
            took_s = await self._sockets.search(found)
            left += not self._sockets.searched
            await asyncio.sleep(max(_PERIOD_S, _REST * took_s))


class _Waiting:
    """A connection that is held, and how many bytes wait there."""

    __slots__ = ("descriptor", "place", "unread")

    def __init__(self, descriptor: int, place: Place, unread: int) -> None:
        self.descriptor, self.place, self.unread = descriptor, place, unread


class _Held:
    """A connection that is held: since when, and how many packets were dropped before."""

    __slots__ = ("drops", "since")

    def __init__(self, since: float, drops: int) -> None:
        self.since, self.drops = since, drops


def _beyond(waiting: Iterable[_Waiting]) -> Iterator[_Waiting]:
    """The connections whose bytes exceed what may wait."""
    kept = 0
    for each in waiting:
        if not kept or kept + each.unread <= MAX_UNREAD_BYTES:
            kept += each.unread
        else:
            yield each


def _hold(connection: socket.socket) -> None:
    """Have its reader not be woken by what comes, nor by the end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, _HELD_BYTES)
    # Not every system has filters.
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _ENDS_FILTER)


def _let_go(connection: socket.socket) -> None:
    """Have its reader be woken, also for what waits already."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


def _is_held(connection: socket.socket) -> bool:
    return connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) > 1


def _drops(descriptor: int) -> int:
    """How many packets of a connection the kernel has dropped; 0 if it is gone."""
    try:
        connection = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 0, descriptor)
    except OSError:
        return 0
    try:
        found: int = _DROPS.unpack(connection.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _DROPS.size))[0]
    except (OSError, struct.error):
        return 0
    finally:
        connection.detach()
    return found


def _unread_bytes(descriptor: int) -> int:
    """What waits there; 0 if the connection is gone."""
    try:
        return int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)
    except OSError:
        return 0


def _not_accepted(listening: socket.socket) -> int:
    known = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _NOT_ACCEPTED.size)
    waiting: int = _NOT_ACCEPTED.unpack(known)[0]
    return waiting


def _close_unread(connection: socket.socket) -> None:
    # grpc would read what waits before it sees the end.
    with suppress(BlockingIOError):
        while connection.recv_into(_DROPPED, 0, socket.MSG_TRUNC | socket.MSG_DONTWAIT):
            pass
    _let_go(connection)
    shut_down(connection)
