"""The environment of the fast tier's rigs: PostgreSQL and the scripted runtime, once for all."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.faults.rig.environment import Environment, open_environment


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def environment() -> AsyncIterator[Environment]:
    """PostgreSQL and the scripted runtime, running."""
    async with open_environment() as opened:
        yield opened
