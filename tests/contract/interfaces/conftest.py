"""What most tests of the interfaces begin with: a hub, a caller of its HTTP, and a finished refinement."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import httpx
import pytest

from tests.support.hub import RunningHub, running_hub, start
from tests.support.tokens import bearer


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
