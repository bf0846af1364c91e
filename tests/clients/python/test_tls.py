"""The client over TLS, with a context of the caller's and with the authorities that the machine trusts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ide_orchestrator.client import Hub, NotTrusted
from ide_orchestrator.client.grpc import GrpcHub
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


@pytest.mark.parametrize(
    ("name", "words"),
    [("localhost", "SSL_CERT_FILE names a PEM file"), ("elsewhere", "not valid for 'localhost'")],
)
async def test_a_certificate_that_is_not_accepted_is_named_with_what_to_do(
    tmp_path: Path, name: str, words: str
) -> None:
    async with tls_in_front_of("http://127.0.0.1:9", tmp_path, name) as front:
        trusting = front.trusting() if name == "elsewhere" else None
        async with Hub(front.http, "token", ssl=trusting) as client:
            with pytest.raises(NotTrusted, match=words):
                await client.info()


@pytest.mark.parametrize("transport", ["websocket", "websocket-json", "sse"])
async def test_a_stream_of_a_hub_whose_certificate_is_not_accepted_is_not_tried_again(
    tmp_path: Path, transport: Transport
) -> None:
    async with tls_in_front_of("http://127.0.0.1:9", tmp_path) as front, Hub(front.http, "token") as client:
        with pytest.raises(NotTrusted, match="its certificate is not accepted"):
            await anext(client.follow("thread", transport=transport))


async def test_over_grpc_neither_is(tmp_path: Path) -> None:
    async with tls_in_front_of("http://127.0.0.1:9", tmp_path) as front, GrpcHub(front.http, "t") as client:
        with pytest.raises(NotTrusted):
            await anext(client.follow("thread"))
        with pytest.raises(NotTrusted):
            await client.start("workflow", "do it")
