"""What the tests of the interfaces begin with: the hub's event loop, and most of them with a hub, a caller of
its HTTP, and a finished refinement."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from uuid import UUID

import httpx
import pytest

from server.cli.event_loop import CommandLoop
from tests.support.hub import RunningHub, running_hub, start
from tests.support.tokens import bearer


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], CommandLoop]]:
    """The loop of all tests here is the hub's own: its transports differ from asyncio's."""
    return {"the hub's": CommandLoop}


@pytest.fixture
async def hub(database: str) -> AsyncIterator[RunningHub]:
    """A hub of recorded runs. A file whose hub has other settings has a fixture of its own."""
    async with running_hub(database) as running:
        yield running


@pytest.fixture
async def http(hub: RunningHub) -> AsyncIterator[httpx.AsyncClient]:
    """A caller with a token."""
    headers = bearer(hub.token())
    async with httpx.AsyncClient(base_url=hub.http, headers=headers, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture
async def thread(hub: RunningHub) -> str:
    """A finished refinement of 52 events, which nobody has read."""
    async with hub.client() as client:
        started = await start(client, "[[replay:short_run]]")
        await hub.core.runner.wait(UUID(started["thread_id"]))
    return str(started["thread_id"])
