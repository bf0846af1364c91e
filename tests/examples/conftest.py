"""The examples' runtimes, each started once for all tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from server.cli.hub_client import HubClient
from tests.examples.runtimes import LANGGRAPH, LINES, NEWEST, ExampleRuntime, example_runtime


@pytest.fixture(scope="session", params=[NEWEST, LINES, LANGGRAPH])
def runtime(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ExampleRuntime]:
    """An example's runtime, running."""
    with example_runtime(request.param, tmp_path_factory.mktemp("runtime")) as started:
        yield started


@pytest.fixture
async def client(runtime: ExampleRuntime, database: str) -> AsyncIterator[HubClient]:
    """A user of a hub in front of it."""
    async with runtime.hub(database) as hub, hub.client() as client:
        yield client
