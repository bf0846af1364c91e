"""A hub with its gRPC interface on a real socket, with a replay runtime, and callers with tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from ide_orchestrator.v1.draft_pb2_grpc import DraftServiceStub
from ide_orchestrator.v1.proposal_pb2_grpc import ProposalServiceStub
from ide_orchestrator.v1.refinement_pb2_grpc import RefinementServiceStub
from ide_orchestrator.v1.review_pb2_grpc import ReviewServiceStub
from ide_orchestrator.v1.user_pb2_grpc import UserServiceStub
from ide_orchestrator.v1.workflow_pb2_grpc import WorkflowServiceStub
from server.compiled.choice import why_not_compiled
from server.core import open_core
from server.grpc.app import GrpcLimits, GrpcServer, create_grpc_server
from server.lifecycle import Core
from server.replay.server import replay_runtime
from server.settings.loading import load
from server.wire import messages as m
from tests.support.tokens import VERIFIER, token

T = TypeVar("T", bound=Message)


class Caller:
    """A user with a token, and stubs that send it."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self.token = token
        self.metadata = (("authorization", f"Bearer {token}"),)
        self.refinements: Any = RefinementServiceStub(channel)
        self.proposals: Any = ProposalServiceStub(channel)
        self.workflows: Any = WorkflowServiceStub(channel)
        self.drafts: Any = DraftServiceStub(channel)
        self.reviews: Any = ReviewServiceStub(channel)
        self.users: Any = UserServiceStub(channel)

    async def workflow(self) -> str:
        """The id of a new workflow."""
        request = m.CreateWorkflowRequest(name="w")
        answer = await self.workflows.CreateWorkflow(request, metadata=self.metadata)
        return str(answer.workflow.id)

    async def start(self, directive: str = "[[replay:short_run]]") -> m.Refinement:
        """A refinement of a new workflow, on the recording that the directive picks."""
        request = m.StartRefinementRequest(
            workflow_id=await self.workflow(), user_prompt=f"go on {directive}"
        )
        answer: m.StartRefinementResponse = await self.refinements.StartRefinement(
            request, metadata=self.metadata
        )
        return answer.refinement

    def watch(self, thread_id: str, after: int = 0) -> Any:
        """The call that follows a refinement."""
        request = m.WatchRefinementRequest(thread_id=thread_id, after_seq=after)
        return self.refinements.WatchRefinement(request, metadata=self.metadata)

    async def events(self, thread_id: str, after: int = 0) -> list[m.Event]:
        """All events after the cursor, until the stream ends."""
        return [event async for response in self.watch(thread_id, after) for event in response.batch.events]


@dataclass(frozen=True)
class GrpcHub:
    """The hub, its interface, and its address."""

    core: Core
    interface: GrpcServer
    channel: grpc.aio.Channel
    address: str

    def caller(self, email: str = "ann@example.com", channel: grpc.aio.Channel | None = None) -> Caller:
        """A user."""
        return Caller(channel or self.channel, token(email))


@asynccontextmanager
async def open_grpc_hub(
    dsn: str, *, dev: bool = True, write_s: float = 30.0, runtime_url: str | None = None, **limits: Any
) -> AsyncIterator[GrpcHub]:
    """The hub on a database; its runtime replays the shipped recordings unless one is named."""
    settings = load(env="dev", runtime_profile="full")
    async with (
        replay_runtime() as replay_url,
        open_core(
            settings,
            dsn=dsn,
            runtime_url=runtime_url or replay_url,
            verifier=VERIFIER,
            compiled=not why_not_compiled(),
        ) as core,
    ):
        interface = create_grpc_server(
            core,
            dev=dev,
            limits=GrpcLimits(write_s=write_s, **limits),
        )
        address = f"127.0.0.1:{interface.server.add_insecure_port('127.0.0.1:0')}"
        await interface.start()
        try:
            async with grpc.aio.insecure_channel(address) as channel:
                yield GrpcHub(core, interface, channel, address)
        finally:
            await interface.stop(0)


@dataclass(frozen=True)
class Refusal:
    """A call's error as a client sees it. `fields`: those that BadRequest names."""

    code: grpc.StatusCode
    text: str
    reason: str
    trace_id: str
    metadata: dict[str, str]
    fields: tuple[str, ...]
    retry_after_s: int | None
    moved: m.DraftMoved | None = None


def refusal_of(error: grpc.aio.AioRpcError) -> Refusal:
    """What an error says, its details checked against its status."""
    status = rpc_status.from_call(error)
    assert status is not None, f"{error.code()} {error.details()} has no details"
    info = _detail(status, error_details_pb2.ErrorInfo)
    assert info is not None
    assert info.domain == "ide-orchestrator"
    request = _detail(status, error_details_pb2.RequestInfo)
    assert request is not None
    bad = _detail(status, error_details_pb2.BadRequest)
    retry = _detail(status, error_details_pb2.RetryInfo)
    return Refusal(
        error.code(),
        error.details() or "",
        info.reason,
        request.request_id,
        dict(info.metadata),
        tuple(violation.field for violation in bad.field_violations) if bad else (),
        retry.retry_delay.seconds if retry else None,
        _detail(status, m.DraftMoved),
    )


def _detail(status: status_pb2.Status, kind: type[T]) -> T | None:
    found: Sequence[T] = [kind.FromString(any_.value) for any_ in status.details if any_.Is(kind.DESCRIPTOR)]
    assert len(found) <= 1
    return found[0] if found else None
