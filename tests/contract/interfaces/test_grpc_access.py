"""Who may call what over gRPC, health, reflection and the port."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ide_orchestrator import v1
from server.auth.tokens import SharedSecret
from server.domain.readiness import Readiness
from server.grpc.app import create_grpc_server
from server.grpc.health import CHECK_INTERVAL_S
from server.grpc.services import SERVICES
from server.wire import messages as m
from tests.support.grpc_interface import GrpcHub, open_grpc_hub, refusal_of
from tests.support.hand_clock import HandClock, until
from tests.support.tokens import VERIFIER

#: Every service of the contract's folder of generated modules.
CONTRACT = [
    service
    for module in pkgutil.iter_modules(v1.__path__)
    if module.name.endswith("_pb2")
    for service in importlib.import_module(
        f"{v1.__name__}.{module.name}"
    ).DESCRIPTOR.services_by_name.values()
]
METHODS = [
    (f"/{service.full_name}/{method.name}", method.server_streaming)
    for service in CONTRACT
    for method in service.methods
]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
ABSENT = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
async def hub(database: str) -> AsyncIterator[GrpcHub]:
    async with open_grpc_hub(database) as opened:
        yield opened


async def call_raw(channel: grpc.aio.Channel, method: str, streams: bool, metadata: Any) -> None:
    if not streams:
        await channel.unary_unary(method)(b"", metadata=metadata)
        return
    async for _ in channel.unary_stream(method)(b"", metadata=metadata):
        pass


def test_the_contract_has_the_methods_that_are_walked() -> None:
    assert {service.full_name for service in CONTRACT} == set(SERVICES)
    assert len(METHODS) == 56
    assert sum(streams for _, streams in METHODS) == 10


async def test_every_method_refuses_a_caller_without_a_valid_token(hub: GrpcHub) -> None:
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    stranger = SharedSecret("another secret, which the hub does not have")
    expired = VERIFIER.issue(email="ann@example.com", lifetime=hour, now=now - 3 * hour)
    valid = hub.caller().token
    headers: list[Any] = [
        None,
        (("authorization", ""),),
        (("authorization", "Bearer"),),
        (("authorization", "Bearer not.a.token"),),
        (("authorization", f"Basic {valid}"),),
        (("authorization", valid),),
        (("authorization", f"Bearer {stranger.issue(email='ann@example.com', lifetime=hour, now=now)}"),),
        (("authorization", f"Bearer {expired}"),),
        (("authorization", f"Bearer {valid}"), ("authorization", f"Bearer {valid}")),
        (("token", valid),),
    ]

    async def refused(metadata: Any) -> None:
        # Each on a server of its own: refused calls of one connection, and of one server, wait together.
        interface = create_grpc_server(hub.core, dev=True)
        address = f"127.0.0.1:{interface.server.add_insecure_port('127.0.0.1:0')}"
        await interface.start()
        async with grpc.aio.insecure_channel(address) as channel:
            for method, streams in METHODS:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call_raw(channel, method, streams, metadata)
                refusal = refusal_of(caught.value)
                assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")
                assert valid not in refusal.text
        await interface.stop(0)

    await asyncio.gather(*(refused(metadata) for metadata in headers))


async def test_every_method_answers_a_caller_with_a_token_by_its_request(hub: GrpcHub) -> None:
    """An empty request is wrong for most, but none says UNAUTHENTICATED."""
    for method, streams in METHODS:
        if method.rpartition("/")[2] in (
            "ListProposals",
            "ListWorkflows",
            "ListWebhooks",
            "GetMe",
            "GetServerInfo",
        ):
            await call_raw(hub.channel, method, streams, hub.caller().metadata)
            continue
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call_raw(hub.channel, method, streams, hub.caller().metadata)
        # The caller is not an operator.
        expected = (
            ("permission_denied",) if "QuarantineService" in method else ("invalid_argument", "not_found")
        )
        assert refusal_of(caught.value).reason in expected, method


async def test_a_foreign_resource_looks_like_an_absent_one(hub: GrpcHub) -> None:
    ann, bob = hub.caller("ann@example.com"), hub.caller("bob@example.com")
    refinement = await ann.start()
    await ann.events(refinement.thread_id)

    async def refusals(thread: str, proposal: str, workflow: str) -> list[Any]:
        told = []
        for call in (
            bob.refinements.GetRefinement(m.GetRefinementRequest(thread_id=thread), metadata=bob.metadata),
            bob.refinements.CancelRefinement(
                m.CancelRefinementRequest(thread_id=thread), metadata=bob.metadata
            ),
            bob.refinements.ListEvents(m.ListEventsRequest(thread_id=thread), metadata=bob.metadata),
            bob.watch(thread).read(),
            bob.refinements.ReadEvent(
                m.ReadEventRequest(thread_id=thread, seq=1), metadata=bob.metadata
            ).read(),
            bob.proposals.GetProposal(m.GetProposalRequest(proposal_id=proposal), metadata=bob.metadata),
            bob.workflows.GetWorkflow(m.GetWorkflowRequest(workflow_id=workflow), metadata=bob.metadata),
            bob.refinements.StartRefinement(
                m.StartRefinementRequest(workflow_id=workflow, user_prompt="x"), metadata=bob.metadata
            ),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            # All but what differs for every call.
            told.append(replace(refusal_of(caught.value), trace_id=""))
        return told

    foreign = await refusals(refinement.thread_id, refinement.proposal_id, refinement.workflow_id)
    assert {refusal.code for refusal in foreign} == {grpc.StatusCode.NOT_FOUND}
    assert foreign == await refusals(ABSENT, ABSENT, ABSENT)
    assert foreign == await refusals("no uuid", "", "{" + ABSENT + "}")
    listed = await bob.proposals.ListProposals(m.ListProposalsRequest(), metadata=bob.metadata)
    assert not listed.proposals
    listed = await bob.workflows.ListWorkflows(m.ListWorkflowsRequest(), metadata=bob.metadata)
    assert not listed.workflows


async def test_health_needs_no_token_and_says_when_the_replica_drains(hub: GrpcHub) -> None:
    health = health_pb2_grpc.HealthStub(hub.channel)

    async def states() -> list[int]:
        names = ("", *SERVICES)
        return [
            (await health.Check(health_pb2.HealthCheckRequest(service=name))).status  # type: ignore[misc]
            for name in names
        ]

    assert await states() == [SERVING] * (1 + len(SERVICES))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health.Check(health_pb2.HealthCheckRequest(service="other"))  # type: ignore[misc]
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND

    watched = health.Watch(health_pb2.HealthCheckRequest())
    assert (await watched.read()).status == SERVING  # type: ignore[attr-defined]
    await hub.interface.drain()
    assert (await watched.read()).status == NOT_SERVING  # type: ignore[attr-defined]
    assert await states() == [NOT_SERVING] * (1 + len(SERVICES))
    watched.cancel()
    # What is under way and who did not look yet is still served.
    assert await hub.caller().workflow()


async def test_health_says_what_the_readiness_checks_say(hub: GrpcHub) -> None:
    looks = [[], ["database"], ["database"], ["database"], ["database"], []]
    clock = HandClock()
    at = 0

    async def _ready() -> Readiness:
        return Readiness(looks[at])

    health: Any = health_pb2_grpc.HealthStub(hub.channel)
    following = asyncio.create_task(hub.interface.health.follow(_ready, clock, max_failures=3))
    told = []
    for at in range(len(looks)):  # noqa: B007
        await until(lambda: bool(clock._sleepers))
        clock.move(CHECK_INTERVAL_S)
        # It has looked when it waits again.
        await until(lambda: bool(clock._sleepers))
        told.append((await health.Check(health_pb2.HealthCheckRequest(service=SERVICES[0]))).status)
    following.cancel()
    assert told == [SERVING, SERVING, SERVING, NOT_SERVING, NOT_SERVING, SERVING]


async def reflected(channel: grpc.aio.Channel) -> list[str]:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    return sorted(service.name for service in (await call.read()).list_services_response.service)


async def test_reflection_lists_every_service_in_development(hub: GrpcHub) -> None:
    assert await reflected(hub.channel) == sorted(
        (*SERVICES, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection")
    )


async def test_production_has_no_reflection(database: str) -> None:
    async with open_grpc_hub(database, dev=False) as hub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await reflected(hub.channel)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_second_hub_on_the_port_fails_to_bind(hub: GrpcHub) -> None:
    core = hub.core
    second = create_grpc_server(
        core,
        dev=True,
    )
    with pytest.raises(RuntimeError, match="Failed to bind"):
        second.server.add_insecure_port(hub.address)
    await second.server.stop(0)


async def test_a_method_that_there_is_not_is_unimplemented_for_everybody(hub: GrpcHub) -> None:
    for method in (
        "/ide_orchestrator.v1.RefinementService/Nothing",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ):
        call = hub.channel.unary_unary(method)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
