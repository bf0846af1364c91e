"""The limits of the contract are those of the hub: at each of them a request is taken, above it not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest_asyncio

from ide_orchestrator.client.grpc_errors import error_of
from tests.support.hub import RunningHub, running_hub
from tests.support.limit_cases import LimitCase, limit_cases


@pytest_asyncio.fixture
async def hub(database: str) -> AsyncIterator[RunningHub]:
    async with running_hub(
        database, max_creates_per_minute=10_000, operators=("ann@example.com",)
    ) as running:
        yield running


async def refused_fields(channel: grpc.aio.Channel, hub: RunningHub, case: LimitCase) -> list[str]:
    """The fields that the hub names as invalid, sorted."""
    method: Any = channel.unary_unary(case.method)
    if case.method.endswith(("ReadPatch", "ReadDraftPatch", "ReadRefinementFile")):
        method = channel.unary_stream(case.method)
    try:
        await method(case.request.SerializeToString(), metadata=(("authorization", f"Bearer {hub.token()}"),))
    except grpc.aio.AioRpcError as error:
        refusal = error_of(error)
        return sorted(refusal.problem.get("fields", ())) if refusal.code == "invalid_argument" else []
    return []


async def test_the_hub_refuses_what_the_limits_do_not_allow_and_takes_what_they_do(hub: RunningHub) -> None:
    wrong, cases = [], list(limit_cases())
    async with grpc.aio.insecure_channel(hub.grpc) as channel:
        for case in cases:
            found = await refused_fields(channel, hub, case)
            if found != sorted(case.fields):
                wrong.append(f"{case.name}: the hub names {found}, the limits {case.fields}")
    assert not wrong, "\n".join(wrong)
    assert len(cases) > 150
    assert sum(bool(case.fields) for case in cases) > 70
