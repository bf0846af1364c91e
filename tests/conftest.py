"""Fixtures for every test. PostgreSQL starts with the first test that asks for it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings
from structlog.testing import capture_logs

from server.db.pool import open_pool
from tests.support.postgres import Postgres, running_postgres

# uvloop starts programs by a fork, in which the handlers of grpc's library run: with its threads at work, one
# program in eighty died before it began. The hub starts its own by `subprocess`, which runs none. The library
# reads this when it is imported, which nothing above does.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

# How long an example takes says nothing where tests run side by side. A run needs few of them: the next one
# tries others.
settings.register_profile(
    "beside others", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("beside others")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A server for the whole session. It starts in an event loop of its own: a fixture of the session's loop
    ends whenever the next test has another kind of loop, and a new server would start for each change."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        folder = tmp_path_factory.mktemp("postgres")
        server = runner.run(stack.enter_async_context(running_postgres(folder)))
        try:
            yield server
        finally:
            runner.run(stack.aclose())


@pytest_asyncio.fixture
async def database(postgres: Postgres) -> AsyncIterator[str]:
    """The DSN of a fresh database with the schema in it."""
    async with postgres.fresh(migrated=True) as dsn:
        yield dsn


@pytest_asyncio.fixture
async def empty_database(postgres: Postgres) -> AsyncIterator[str]:
    """The DSN of a fresh database with nothing in it."""
    async with postgres.fresh(migrated=False) as dsn:
        yield dsn


@pytest_asyncio.fixture
async def pool(database: str) -> AsyncIterator[Any]:
    """An asyncpg pool on `database`."""
    async with open_pool(database) as opened:
        yield opened


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """The entries that the hub logs from now on, as dictionaries."""
    with capture_logs() as entries:
        yield entries
