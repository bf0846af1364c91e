"""The replay runtime on a socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import uvicorn

from server.replay.app import create_replay_app
from server.replay.directives import Directive
from server.replay.recording import Recording
from server.replay.runs import Steps


@contextlib.asynccontextmanager
async def replay_runtime(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    directory: Path | None = None,
    default: str | None = None,
    chooses_ids: bool = False,
    recordings: Mapping[str, Recording] | None = None,
    directive: Directive = Directive(),  # noqa: B008 (frozen)
    steps: Steps | None = None,
) -> AsyncIterator[str]:
    """Serve recordings until the block ends; yields `http://HOST:PORT`. Port 0 takes a free one.

    directory, default, chooses_ids, recordings, directive, steps: see create_replay_app. Raises
    RecordingError, and OSError when the address is not available.
    """
    app = create_replay_app(
        directory,
        default=default,
        chooses_ids=chooses_ids,
        recordings=recordings,
        directive=directive,
        steps=steps,
    )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=1024) as listener:
        listener.setblocking(False)
        # Headers and body leave in two writes. uvloop sets this itself, asyncio only for some sockets.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
        # The command handles signals.
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        name = f"[{host}]" if ":" in host else host
        try:
            yield f"http://{name}:{listener.getsockname()[1]}"
        finally:
            # uvicorn looks at `should_exit` ten times a second, and then waits for another tenth.
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            for accepting in server.servers if server.started else ():
                accepting.close()
            for connection in list(server.server_state.connections):
                connection.shutdown()
