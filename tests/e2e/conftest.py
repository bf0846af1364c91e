"""A hub in the test's process, and the commands of `ideo` that call it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.commands import Commands, Ideo
from tests.support.hub import RunningHub, running_hub


@pytest_asyncio.fixture
async def hub(database: str) -> AsyncIterator[RunningHub]:
    """A hub of recorded runs. A file whose hub has other settings has a fixture of its own."""
    async with running_hub(database) as running:
        yield running


@pytest.fixture
def ideo(hub: RunningHub) -> Ideo:
    """Runs a command as the hub's first user."""
    return Commands(hub.ideo_settings).ideo
