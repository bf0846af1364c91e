"""The hub of `ideo dev`, which callers may restart, in the test's process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from server.cli.restartable_hub import RestartableHub
from server.replay.server import replay_runtime
from server.settings.loading import load
from tests.support.servers import free_port
from tests.support.tokens import VERIFIER

_DEFAULTS: dict[str, Any] = {
    "env": "dev",
    "runtime_profile": "full",
    "drain_s": 0.0,
    "heartbeat_s": 1,
}


@asynccontextmanager
async def development_hub(
    dsn: str, *, recordings: Path | None = None, **settings: Any
) -> AsyncIterator[RestartableHub]:
    """The hub, on a migrated database; `settings` by field name."""
    # While it restarts, nothing else may take its ports.
    ports = {"http_port": free_port(), "grpc_port": free_port()}
    async with (
        replay_runtime(directory=recordings) as runtime,
        RestartableHub(
            load(**_DEFAULTS | ports | settings),
            dsn=dsn,
            runtime_url=runtime,
            verifier=VERIFIER,
            say=lambda _: None,
        ).running() as hub,
    ):
        yield hub
