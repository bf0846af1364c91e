"""A hub whose issuer is away: it serves, says so, and takes tokens as soon as the keys are there."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import httpx
import pytest

from ide_orchestrator.v1 import workflow_pb2, workflow_pb2_grpc
from tests.integration.issuer_hub import issuer_hub
from tests.support.grpc_interface import refusal_of
from tests.support.http_interface import problem, upgrade
from tests.support.stored import NOON
from tests.unit.auth.issuer import Issuer, answer, jwks_server, new_ed


async def test_without_keys_tokens_get_503_and_the_replica_is_not_ready(database: str) -> None:
    by = Issuer({"a": new_ed()})
    token = by.token("a", NOON, exp=4_000_000_000, iat=None)
    bearer = f"Bearer {token}"
    async with (
        jwks_server(answer(b"", status="500 Internal Server Error")) as server,
        issuer_hub(database, server.url) as hub,
        httpx.AsyncClient(base_url=hub.http_address, headers={"Authorization": bearer}, timeout=60) as http,
        grpc.aio.insecure_channel(hub.grpc_address) as channel,
    ):
        workflows = workflow_pb2_grpc.WorkflowServiceStub(channel)
        metadata = (("authorization", bearer),)
        refused = await http.get("/api/workflows")
        assert problem(refused)["code"] == "keys_unavailable"
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        path = "/api/ws/refinements/00000000-0000-4000-8000-000000000000"
        status, headers, body = await upgrade(hub.http_address, path, {"Authorization": bearer})
        assert (status, body["code"]) == (503, "keys_unavailable")
        assert int(headers["retry-after"]) >= 1
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await workflows.ListWorkflows(workflow_pb2.ListWorkflowsRequest(), metadata=metadata)
        refusal = refusal_of(caught.value)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "keys_unavailable")
        assert (refusal.retry_after_s or 0) >= 1
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()["failing"]) == (503, ["keys"])

        server.behave = answer(by.document())
        async with asyncio.timeout(60):
            while (await http.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.05)
        assert (await http.get("/api/workflows")).status_code == 200
        await workflows.ListWorkflows(workflow_pb2.ListWorkflowsRequest(), metadata=metadata)
