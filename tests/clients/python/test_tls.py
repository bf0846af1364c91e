"""The client over TLS, with a context of the caller's and with the authorities that the machine trusts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ide_orchestrator.client import Hub
from ide_orchestrator.client.hub import Transport
from tests.support.hub import RunningHub, finished, running_hub, start
from tests.support.tls import Front, tls_in_front_of

LAST = 52


@pytest.fixture
async def hub(database: str) -> AsyncIterator[RunningHub]:
    async with running_hub(database) as running:
        yield running


@pytest.fixture
async def front(hub: RunningHub, tmp_path: Path) -> AsyncIterator[Front]:
    async with tls_in_front_of(hub.http, tmp_path) as opened:
        yield opened


async def a_run(hub: RunningHub) -> str:
    async with hub.client() as client:
        started = await start(client, "[[replay:short_run]]")
        await finished(client, started)
    return str(started["thread_id"])


@pytest.mark.parametrize("explicit", [True, False])
async def test_a_refinement_is_followed_over_tls_with_a_context_and_without(
    hub: RunningHub, front: Front, monkeypatch: pytest.MonkeyPatch, explicit: bool
) -> None:
    thread = await a_run(hub)
    if not explicit:
        monkeypatch.setenv("SSL_CERT_FILE", str(front.ca_file))
    context = front.trusting() if explicit else None
    transports: tuple[Transport, ...] = ("websocket", "websocket-json", "sse")
    for transport in transports:
        async with Hub(front.http, hub.token(), ssl=context) as client:
            found = [event.seq async for event in client.follow(thread, transport=transport)]
        assert found == list(range(1, LAST + 1)), transport
