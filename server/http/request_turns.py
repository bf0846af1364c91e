"""How many requests begin in one turn of the event loop (ADR 0073).

To route a request and to answer or refuse it takes half a millisecond. A thousand connections that each send
the next request after each answer would be half a second in which everybody else waits, whatever is answered.
"""

from __future__ import annotations

from typing import Any

from litestar.types import ASGIApp, Receive, Scope, Send

from server.domain.arrivals import Arrivals, Stranger
from server.domain.loop_turns import LoopTurns, Turn
from server.http.connection import EXTENSION, Connection

#: Requests that begin in one turn of the loop: some 2 ms.
REQUESTS_PER_TURN = 4
#: Requests that wait: there is one for each connection.
_MAX_WAITING = 1 << 20


class RequestTurns:
    """The requests of one HTTP interface, which begin in turns."""

    def __init__(self, per_turn: int = REQUESTS_PER_TURN) -> None:
        waiting: Arrivals[Turn] = Arrivals(max_strangers=_MAX_WAITING, max_of_caller=_MAX_WAITING)
        self._turns = LoopTurns(per_turn, small_bytes=0, waiting=waiting)

    async def take(self, connection: Connection) -> None:
        """Wait until a request of the connection may begin."""
        caller = connection.caller
        await self._turns.take(Stranger(id(connection)) if caller is None else caller, 1)


def with_turns(app: ASGIApp) -> ASGIApp:
    """Begin requests in turns. Upgrades are no exception: they begin as requests."""
    turns = RequestTurns()

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        # Any: ASGI's types have no extensions like this one. Without it, another server runs the application.
        connection: Any = (scope.get("extensions") or {}).get(EXTENSION)
        if isinstance(connection, Connection):
            await turns.take(connection)
        await app(scope, receive, send)

    return handle
