"""The ground that the fast tier's rigs stand on: PostgreSQL and the scripted runtime, once for all."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.faults.rig.environment import Ground, open_ground


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def ground() -> AsyncIterator[Ground]:
    """PostgreSQL and the scripted runtime, running."""
    async with open_ground() as opened:
        yield opened
