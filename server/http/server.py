"""How uvicorn serves the HTTP interface: its limits, its server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn
from litestar import Litestar

from server.domain.endings import Endings
from server.domain.loop_turns import LoopTurns
from server.domain.rates import Rate
from server.http.admission import STRANGERS, Admission
from server.http.connection import SEND_DEADLINE_S
from server.http.connection_limit import ConnectionLimit
from server.http.http_protocol import DROPPED_PER_TURN, HubHttpProtocol
from server.http.websocket_protocol import (
    BODY_DEADLINE_S,
    HEAD_DEADLINE_S,
    MAX_CONNECTIONS,
    HubConfig,
    HubSocketProtocol,
    hub_config,
)

#: Largest message that a client may send on a WebSocket, in bytes.
MAX_CLIENT_MESSAGE_BYTES = 4096
#: Connections that the kernel holds until they are accepted, if the machine allows as many. Of further ones
#: it drops the first packet, so that their clients try again after a second.
BACKLOG = 16_384
#: Seconds that an idle connection stays open.
KEEP_ALIVE_S = 15


def uvicorn_config(
    app: Litestar,
    *,
    drain_s: float,
    ping_s: float = 20.0,
    send_deadline_s: float = SEND_DEADLINE_S,
    head_deadline_s: float = HEAD_DEADLINE_S,
    body_deadline_s: float = BODY_DEADLINE_S,
    max_connections: int = MAX_CONNECTIONS,
    strangers: Rate = STRANGERS,
    on_cut_off: Callable[[str], None] = lambda reason: None,
) -> uvicorn.Config:
    """The configuration of a `HubServer`; `serve` takes the sockets.

    drain_s: how long open requests may take once the server stops. ping_s: seconds between WebSocket pings,
    and the longest wait for an answer to one; with legacy frames they are the only heartbeat.
    send_deadline_s: how long a stream's client may take nothing before its connection is cut.
    head_deadline_s, body_deadline_s: how long a request's head, and then its body, may take to arrive.
    max_connections: concurrent connections; `server.http.connection_limit` decides about further ones.
    strangers: how fast requests of callers who are not known are read (`server.http.admission`).
    on_cut_off: called with the reason (`server.domain.access.cut_offs`) when a client is cut off.
    """
    config = HubConfig(
        app,
        http=HubHttpProtocol,
        ws=HubSocketProtocol,
        lifespan="off",
        loop="none",
        interface="asgi3",
        # Compressed bytes could not be shared by clients.
        ws_per_message_deflate=False,
        ws_max_size=MAX_CLIENT_MESSAGE_BYTES,
        ws_ping_interval=ping_s,
        ws_ping_timeout=ping_s,
        # An address's query may hold a token.
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        backlog=BACKLOG,
        timeout_graceful_shutdown=drain_s,  # type: ignore[arg-type]
    )
    config.send_deadline_s = send_deadline_s
    config.head_deadline_s, config.body_deadline_s = head_deadline_s, body_deadline_s
    config.connection_limit, config.admission = ConnectionLimit(max_connections), Admission(strangers)
    config.endings, config.dropped = Endings(), LoopTurns(DROPPED_PER_TURN, small_bytes=0)
    config.on_cut_off = on_cut_off
    return config


#: Seconds between two ticks of uvicorn, which sets the header `Date`; and between two looks at what is still
#: open when the server stops.
_TICK_S, _POLL_S = 1.0, 0.01


class HubServer(uvicorn.Server):
    """uvicorn without its signal handling: the hub decides when it stops, and it stops without pauses."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up, self._stopping = asyncio.Event(), asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, and set `up`."""
        await super().startup(sockets)
        self.up.set()

    def stop(self) -> None:
        """Stop accepting connections, and end `serve` when those that are open have ended."""
        self.should_exit = True
        self._stopping.set()

    async def main_loop(self) -> None:
        """As in uvicorn, which however notices the stop only with its next tick, of which it has ten a second
        and sets the header with one."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):
                    await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As in uvicorn, which however waits a tenth of a second before it looks whether all have ended."""
        for accepting in (*self.servers, *(sockets or ())):
            accepting.close()
        state = self.server_state
        for connection in list(state.connections):
            hub_config(self.config).endings.add(connection.shutdown)
        try:
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                while state.connections or state.tasks:  # noqa: ASYNC110 (plain sets)
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            for task in state.tasks:
                task.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield
