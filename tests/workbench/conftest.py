"""One hub and one browser for the tests of a file, and a fresh window for each test.

A file with a hub of another kind has a fixture `recordings` or `settings` of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.support.postgres import Postgres
from tests.workbench.driver import PATIENCE_MS, Workbench, workbench

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder for the file's recordings."""
    return tmp_path_factory.mktemp("recordings")


@pytest.fixture(scope="module")
def recordings() -> Path | None:
    """The recordings that the hub's runtime replays; None for the shipped ones."""
    return None


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    """Settings of the hub, by field name."""
    return {}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(
    postgres: Postgres, recordings: Path | None, settings: dict[str, Any]
) -> AsyncIterator[Workbench]:
    """The file's hub, on a fresh database, and its browser."""
    async with (
        postgres.fresh(migrated=True) as dsn,
        workbench(dsn, recordings=recordings, **settings) as opened,
    ):
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def page(bench: Workbench) -> AsyncIterator[Page]:
    """A window with a token, at `/`."""
    async with bench.window() as opened:
        yield opened
    assert bench.complaints == []
