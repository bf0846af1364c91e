"""A token is for the address that the caller gives: the client follows no redirect."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from ide_orchestrator.client import Hub, HubError
from tests.support.hand_clock import PATIENCE_S
from tests.support.servers import redirecting_server

ABSENT = "00000000-0000-4000-8000-000000000000"


async def _follow(hub: Hub, transport: str) -> None:
    async for _ in hub.follow(ABSENT, transport=transport):  # type: ignore[arg-type]
        pass


async def _download(hub: Hub) -> None:
    async for _ in hub.pieces("/archive"):
        pass


CALLS: dict[str, Callable[[Hub], Awaitable[object]]] = {
    "read": lambda hub: hub.workflow(ABSENT),
    "write": lambda hub: hub.create_workflow("demo"),
    "download": _download,
    "websocket": lambda hub: _follow(hub, "websocket"),
    "sse": lambda hub: _follow(hub, "sse"),
}


@pytest.mark.parametrize("status", [302, 307, 308])
@pytest.mark.parametrize("name", CALLS)
async def test_a_redirect_is_refused_and_nothing_is_sent_to_where_it_leads(name: str, status: int) -> None:
    async with (
        redirecting_server(status) as (url, reached),
        Hub(url, "secret-token", trust_env=False) as hub,
    ):
        with pytest.raises(HubError, match=f"HTTP {status}"):
            await asyncio.wait_for(CALLS[name](hub), PATIENCE_S)
    assert reached == []
