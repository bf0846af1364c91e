"""What the campaigns are aimed at: a hub as it is shipped, with a runtime that replays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.postgres import running_postgres
from tests.support.processes import UNLIMITED, hub_environment, replay_process, running
from tests.support.tokens import token


@dataclass(frozen=True)
class Target:
    """The hub's address, and a token of the user Ann's."""

    http: str
    token: str


@asynccontextmanager
async def open_target(recordings: Path | None = None) -> AsyncIterator[Target]:
    """A hub process on its own PostgreSQL, with a runtime that replays recordings."""
    with TemporaryDirectory(prefix="hostile-") as folder:
        async with (
            running_postgres(Path(folder)) as postgres,
            postgres.fresh(migrated=True) as dsn,
            replay_process(recordings) as runtime,
            running("serve", environment=hub_environment(dsn, runtime, **UNLIMITED)) as hub,
        ):
            await hub.serving("HTTP", "gRPC")
            yield Target(hub.addresses["HTTP"], token(minutes=480))
