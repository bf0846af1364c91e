"""One hub and one browser for the tests of a file, and a fresh window for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Page, expect

from tests.support.postgres import Postgres
from tests.workbench.driver import PATIENCE_MS, Workbench, workbench

expect.set_options(timeout=PATIENCE_MS)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(postgres: Postgres) -> AsyncIterator[Workbench]:
    """The file's hub, on a fresh database, and its browser."""
    async with postgres.fresh(migrated=True) as dsn, workbench(dsn) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def page(bench: Workbench) -> AsyncIterator[Page]:
    """A window with a token, at `/`."""
    async with bench.window() as opened:
        yield opened
    assert bench.complaints == []
