"""What the campaigns are aimed at: a hub as it is shipped, with a runtime that replays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from server.auth.tokens import SharedSecret
from tests.support.postgres import running_postgres
from tests.support.processes import SECRET, hub_environment, replay_process, running


@dataclass(frozen=True)
class Stage:
    """The hub's addresses, and a token of the user Ann's."""

    http: str
    grpc: str
    token: str


@asynccontextmanager
async def open_stage(recordings: Path | None = None) -> AsyncIterator[Stage]:
    """A hub process on its own PostgreSQL, with a runtime that replays recordings."""
    issued = SharedSecret(SECRET).issue(
        email="ann@example.com", lifetime=timedelta(hours=8), now=datetime.now(UTC)
    )
    # One user does it all.
    unlimited = dict.fromkeys(
        ("IDEO_MAX_ACTIVE_RUNS", "IDEO_MAX_CREATES_PER_MINUTE", "IDEO_MAX_STREAMS"), "0"
    )
    with TemporaryDirectory(prefix="hostile-") as folder:
        async with (
            running_postgres(Path(folder)) as postgres,
            postgres.fresh(migrated=True) as dsn,
            replay_process(recordings) as runtime,
            running("serve", environment=hub_environment(dsn, runtime, **unlimited)) as hub,
        ):
            await hub.serving("HTTP", "gRPC")
            yield Stage(hub.addresses["HTTP"], hub.addresses["gRPC"], issued)
