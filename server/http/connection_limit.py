"""The limit of connections: which of them stay when there are too many. Pure (ADR 0018).

1. A connection that has sent no complete request, or waits for its next one, is idle. When there are too
   many connections, the oldest idle one makes room for a new one: silence keeps nobody out.
2. When none is idle, new connections are guests: they get an answer to a probe, so that a replica which is
   full is not taken for dead, and a refusal to everything else. The number of guests is limited, too.
"""

from __future__ import annotations

from typing import Protocol

#: Guests at a time.
MAX_GUESTS = 64


class Replaceable(Protocol):
    """A connection that may have to make room."""

    def make_room(self) -> None:
        """End it."""
        ...


class ConnectionLimit:
    """The connections of one server, up to `max_connections` and a few guests."""

    def __init__(self, max_connections: int) -> None:
        self._max = max_connections
        #: In the order of time.
        self._idle: dict[Replaceable, None] = {}
        self._guests: dict[Replaceable, None] = {}

    def enter(self, connection: Replaceable, open_connections: int) -> bool:
        """Admit a new connection, which `open_connections` includes. Returns False for a guest."""
        if open_connections - len(self._guests) <= self._max or self._end_oldest(self._idle):
            self._idle[connection] = None
            return True
        if len(self._guests) >= MAX_GUESTS:
            self._end_oldest(self._guests)
        self._guests[connection] = None
        return False

    def busy(self, connection: Replaceable) -> None:
        """The connection has a request, or is a stream: it need not make room."""
        self._idle.pop(connection, None)

    def idle(self, connection: Replaceable) -> None:
        """The connection waits for a request."""
        if connection not in self._guests:
            self._idle[connection] = None

    def leave(self, connection: Replaceable) -> None:
        """The connection is gone."""
        self._idle.pop(connection, None)
        self._guests.pop(connection, None)

    @staticmethod
    def _end_oldest(connections: dict[Replaceable, None]) -> bool:
        oldest = next(iter(connections), None)
        if oldest is None:
            return False
        del connections[oldest]
        oldest.make_room()
        return True
