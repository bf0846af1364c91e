"""Closes connections of grpc, which has no call for it: it shuts down their sockets (ADR 0073).

grpc then sees that the client has left, and ends the connection's calls in its own threads.
"""

from __future__ import annotations

import asyncio
import socket

from server.grpc.sockets import Place, Sockets, place_of

#: Seconds for which connections that are to be closed are collected; how many times as long as the search for
#: them took the next one waits.
_COLLECTED_S, _REST = 0.005, 9


class HangUps:
    """The connections of one server that are to be closed."""

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
        self._places: set[Place] = set()
        self._searching: asyncio.Task[None] | None = None

    def add(self, peer: str) -> None:
        """Close a connection soon; `peer` as grpc calls it."""
        self._places.add(place_of(peer))
        if self._searching is None:
            self._searching = asyncio.get_running_loop().create_task(self._search())

    async def _search(self) -> None:
        while self._places:
            await asyncio.sleep(_COLLECTED_S)
            places, self._places = self._places, set()

            def found(descriptor: int, place: Place, places: set[Place] = places) -> None:
                if place in places:
                    self._sockets.use(descriptor, place, shut_down)

            took_s = await self._sockets.search(found)
            await asyncio.sleep(_REST * took_s)
        self._searching = None


def shut_down(connection: socket.socket) -> None:
    """End a connection, also where grpc still refers to it. Raises OSError when its client has left."""
    connection.shutdown(socket.SHUT_RDWR)
