"""Every token of the corpus over the real verifier, and over the interfaces of a hub."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import grpc
import grpc.aio
import httpx
import pytest_asyncio

from ide_orchestrator.v1 import workflow_pb2, workflow_pb2_grpc
from server.auth.keyset import KeySet
from server.domain.errors import Unauthenticated
from server.lifecycle import Hub
from tests.integration.issuer_hub import issuer_hub
from tests.integration.token_corpus import forged, issuer, valid
from tests.support.hand_clock import HandClock
from tests.support.http_interface import upgrade
from tests.unit.auth.issuer import AUDIENCE, ISSUER, JwksServer, answer, jwks_server

#: Tokens that a header can carry unchanged; white space around a token is not part of it.
SENDABLE = re.compile(r"[!-~]([ -~]*[!-~])?")
THREAD = "00000000-0000-4000-8000-000000000000"


@pytest_asyncio.fixture
async def server() -> AsyncIterator[JwksServer]:
    async with jwks_server(answer(issuer().document())) as serving:
        yield serving


@pytest_asyncio.fixture
async def hub(database: str, server: JwksServer) -> AsyncIterator[Hub]:
    async with issuer_hub(database, server.url) as serving:
        yield serving


async def test_no_forged_token_is_accepted_and_no_valid_token_is_refused(server: JwksServer) -> None:
    clock = HandClock()
    bad, good = forged(clock.now()), valid(clock.now())
    taken, refused = [], []
    keys = KeySet(server.url, issuer=ISSUER, audience=AUDIENCE, clock=clock)
    async with keys.running():
        for name, token in bad.items():
            try:
                await keys.verify(token)
                taken.append(name)
            except Unauthenticated:
                pass
        for name, token in good.items():
            try:
                await keys.verify(token)
            except Unauthenticated:
                refused.append(name)
    print(f"\nforged {len(bad)}, taken {len(taken)}; valid {len(good)}, refused {len(refused)}")
    assert len(bad) >= 80
    assert len(good) >= 20
    assert (taken, refused) == ([], [])
    assert set(server.paths) == {"/jwks"}, "a token made the hub ask for something else"


async def test_every_interface_accepts_the_same_tokens(hub: Hub) -> None:
    now = datetime.now(UTC)
    bad = {name: token for name, token in forged(now).items() if SENDABLE.fullmatch(token)}
    # A token at the edge of its time may be over it before it is asked for.
    bad = {name: token for name, token in bad.items() if len(token) < 10_000 and "leeway" not in name}
    good = {name: token for name, token in valid(now).items() if "leeway" not in name}
    taken, refused = (200, 403, grpc.StatusCode.OK), (401, 401, grpc.StatusCode.UNAUTHENTICATED)
    wrong: list[str] = []

    async def tell(expected: bool, tokens: dict[str, str]) -> None:
        for name, token in tokens.items():
            bearer = f"Bearer {token}"
            rest = (await http.get("/api/workflows", headers={"Authorization": bearer})).status_code
            # A valid token reaches the check of the thread, which is absent: 403, as legacy clients expect.
            socket, _, _ = await upgrade(
                hub.http_address, f"/api/ws/refinements/{THREAD}", {"Authorization": bearer}
            )
            try:
                await workflows.ListWorkflows(
                    workflow_pb2.ListWorkflowsRequest(), metadata=(("authorization", bearer),)
                )
                code = grpc.StatusCode.OK
            except grpc.aio.AioRpcError as error:
                code = error.code()
            if (rest, socket, code) != (taken if expected else refused):
                wrong.append(f"{name}: {rest}, {socket}, {code}")

    async with (
        httpx.AsyncClient(base_url=hub.http_address, timeout=20) as http,
        grpc.aio.insecure_channel(hub.grpc_address) as channel,
    ):
        workflows = workflow_pb2_grpc.WorkflowServiceStub(channel)
        await asyncio.gather(tell(False, bad), tell(True, good))
    print(f"\nover HTTP, WebSocket and gRPC: forged {len(bad)}, valid {len(good)}, wrong {len(wrong)}")
    assert len(bad) >= 80
    assert len(good) >= 20
    assert not wrong, "\n".join(wrong)
