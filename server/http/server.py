"""How uvicorn serves the HTTP face."""

from __future__ import annotations

import uvicorn
from litestar import Litestar

from server.http.connection import SEND_DEADLINE_S
from server.http.protocols import (
    BODY_DEADLINE_S,
    CONNECTIONS_MOST,
    HEAD_DEADLINE_S,
    HubConfig,
    HubHttpProtocol,
    HubSocketProtocol,
)

#: Largest message that a client may send on a WebSocket, in bytes.
MAX_CLIENT_MESSAGE_BYTES = 4096
#: Seconds that an idle kept-alive connection stays open.
KEEP_ALIVE_S = 15


def uvicorn_config(
    app: Litestar,
    *,
    drain_s: float,
    ping_s: float = 20.0,
    send_deadline_s: float = SEND_DEADLINE_S,
    head_deadline_s: float = HEAD_DEADLINE_S,
    body_deadline_s: float = BODY_DEADLINE_S,
    max_connections: int = CONNECTIONS_MOST,
) -> uvicorn.Config:
    """The configuration for an embedded `uvicorn.Server`; sockets are given to its `serve`.

    drain_s: how long answers under way may take once the server stops. ping_s: WebSocket pings, and
    the longest wait for an answer to one, which on the seed's sockets are the only sign of life.
    send_deadline_s: how long a stream's client may take nothing before its connection is cut.
    head_deadline_s, body_deadline_s: how long a request's head, and then its body, may take to come.
    max_connections: most connections at a time; more are answered with 503.
    """
    config = HubConfig(
        app,
        http=HubHttpProtocol,
        ws=HubSocketProtocol,
        lifespan="off",
        loop="none",
        interface="asgi3",
        # Compression would make each client's bytes its own.
        ws_per_message_deflate=False,
        ws_max_size=MAX_CLIENT_MESSAGE_BYTES,
        ws_ping_interval=ping_s,
        ws_ping_timeout=ping_s,
        # Addresses may carry a token in their query.
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=drain_s,  # type: ignore[arg-type]
    )
    config.send_deadline_s = send_deadline_s
    config.head_deadline_s, config.body_deadline_s = head_deadline_s, body_deadline_s
    config.max_connections = max_connections
    return config
