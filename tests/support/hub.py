"""The whole hub in the test's process: real sockets, a real PostgreSQL, recorded runs as the runtime."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from ide_orchestrator.client import Unavailable
from server.cli.hub_client import HubClient, open_client
from server.compose import open_hub
from server.lifecycle import Core, Hub
from server.replay.server import replay_runtime
from server.settings.loading import load
from tests.support.hand_clock import PATIENCE_S
from tests.support.tokens import VERIFIER, token

T = TypeVar("T")


@dataclass
class RunningHub:
    """A serving hub and what is needed to call it."""

    hub: Hub
    runtime_url: str

    @property
    def core(self) -> Core:
        return self.hub.core

    @property
    def http(self) -> str:
        return self.hub.http_address

    @property
    def grpc(self) -> str:
        return self.hub.grpc_address

    def token(self, email: str = "ann@example.com", *, minutes: float = 10) -> str:
        """A token; with `minutes` below zero one that has expired."""
        return token(email, minutes=minutes)

    @property
    def ideo_settings(self) -> dict[str, str]:
        """What `ideo` needs to call the hub."""
        return {"IDEO_URL": self.http, "IDEO_TOKEN": self.token()}

    @asynccontextmanager
    async def client(self, email: str = "ann@example.com") -> AsyncIterator[HubClient]:
        """A client with a token of the user's."""
        async with open_client(self.http, self.token(email)) as client:
            yield client


@asynccontextmanager
async def running_hub(
    dsn: str, *, runtime_url: str | None = None, recordings: Path | None = None, **settings: Any
) -> AsyncIterator[RunningHub]:
    """A hub on a migrated database; `settings` by field name."""
    defaults: dict[str, Any] = {"env": "dev", "http_port": 0, "grpc_port": 0, "runtime_profile": "full"}
    chosen = load(**defaults | settings)
    async with replay_runtime(directory=recordings) as replay:
        url = runtime_url or replay
        async with open_hub(chosen, dsn=dsn, runtime_url=url, verifier=VERIFIER) as hub:
            yield RunningHub(hub, url)


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """What a call gives, also if the database takes longer than the hub waits for it: on a busy machine."""
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await call()
        except Unavailable as error:
            if error.code != "database_unavailable" or time.monotonic() > give_up_at:
                raise
        await asyncio.sleep(0.1)


async def a_workflow(client: HubClient, **fields: Any) -> str:
    """A workflow of the client's; its id."""
    made = await patiently(partial(client.call, "POST", "/api/workflows", {"name": "demo"} | fields))
    return str(made["id"])


async def start(client: HubClient, prompt: str, workflow_id: str | None = None) -> dict[str, Any]:
    """A started refinement: the start's answer."""
    workflow_id = workflow_id or await a_workflow(client)
    path = f"/api/workflows/{workflow_id}/refinements"
    once = {"Idempotency-Key": str(uuid4())}
    call = partial(client.call, "POST", path, {"user_prompt": prompt}, headers=once)
    started: dict[str, Any] = await patiently(call)
    return started


async def finished(client: HubClient, started: dict[str, Any]) -> dict[str, Any]:
    """The proposal of a refinement, once it is over."""
    async for _ in client.follow(started["thread_id"]):
        pass
    path = f"/api/proposals/{started['proposal_id']}"
    proposal: dict[str, Any] = await patiently(partial(client.call, "GET", path))
    return proposal
