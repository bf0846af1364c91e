"""The errors that gRPC callers get for their own mistakes, the runtime's and the hub's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import grpc
import grpc.aio
import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from server.domain.errors import RuntimeRefused, RuntimeUnavailable
from server.domain.fair_budget import FairBudget
from server.grpc.admission import Admission
from server.grpc.authentication import Context, Identity
from server.grpc.interceptors import CallInterceptor
from server.grpc.peers import Peers
from server.grpc.public_streams import PublicStreams
from server.grpc.unread_calls import Group, UnreadCalls
from server.observability.metrics import Metrics
from server.wire import messages as m
from tests.support.grpc_interface import Caller, GrpcHub, Refusal, open_grpc_hub, refusal_of
from tests.support.runtime import Answer, Disconnect, ScriptedRuntime, serve_runtime

INVALID = grpc.StatusCode.INVALID_ARGUMENT
ABSENT = "00000000-0000-4000-8000-000000000000"


#: What clients usually configure: they retry UNAVAILABLE by themselves.
RETRYING = [
    ("grpc.use_local_subchannel_pool", 1),
    (
        "grpc.service_config",
        json.dumps(
            {
                "methodConfig": [
                    {
                        "name": [{}],
                        "retryPolicy": {
                            "maxAttempts": 4,
                            "initialBackoff": "0.01s",
                            "maxBackoff": "0.05s",
                            "backoffMultiplier": 2,
                            "retryableStatusCodes": ["UNAVAILABLE"],
                        },
                    }
                ]
            }
        ),
    ),
]


class ResettingRuntime(ScriptedRuntime):
    """Takes each job and resets the connection instead of answering."""

    async def invoke(self, job: dict[str, Any]) -> Answer:
        await super().invoke(job)
        raise Disconnect


@pytest.fixture
async def hub(database: str) -> AsyncIterator[GrpcHub]:
    async with open_grpc_hub(database) as opened:
        yield opened


async def refused(call: Any) -> Refusal:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal_of(caught.value)


async def test_a_wrong_start_is_refused_naming_each_field(hub: GrpcHub) -> None:
    ann = hub.caller()
    workflow = await ann.workflow()

    async def start(**fields: str) -> Refusal:
        request = m.StartRefinementRequest(**{"workflow_id": workflow, "user_prompt": "x", **fields})
        return await refused(ann.refinements.StartRefinement(request, metadata=ann.metadata))

    cases: list[tuple[dict[str, str], str, tuple[str, ...]]] = [
        ({"user_prompt": ""}, "invalid_argument", ("user_prompt",)),
        ({"user_prompt": " \n"}, "invalid_argument", ("user_prompt",)),
        ({"user_prompt": "x" * 65_537}, "invalid_argument", ("user_prompt",)),
        ({"user_prompt": "a\0b"}, "invalid_argument", ("user_prompt",)),
        ({"when_busy": 99}, "invalid_argument", ("when_busy",)),
        ({"context_file_path": "/" + "x" * 1024}, "invalid_argument", ("context_file_path",)),
        ({"context_selection": "the end"}, "invalid_argument", ("context_selection",)),
        ({"context_selection": "lines 1-"}, "invalid_argument", ("context_selection",)),
        ({"context_selection": "lines 25-10"}, "unprocessable", ("context_selection",)),
        ({"context_selection": "line 0"}, "unprocessable", ("context_selection",)),
        (
            {"user_prompt": "", "context_selection": "x"},
            "invalid_argument",
            ("user_prompt", "context_selection"),
        ),
    ]
    for fields, reason, named in cases:
        refusal = await start(**fields)
        assert (refusal.code, refusal.reason, refusal.fields) == (INVALID, reason, named), fields
    for unknown in (ABSENT, "", "no uuid"):
        refusal = await start(workflow_id=unknown)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "not_found")
    listed = await ann.proposals.ListProposals(m.ListProposalsRequest(), metadata=ann.metadata)
    assert not listed.proposals, "a refused start left something behind"


async def test_a_wrong_workflow_is_refused_naming_each_field(hub: GrpcHub) -> None:
    ann = hub.caller()
    deep: dict[str, Any] = {}
    for _ in range(31):
        deep = {"a": deep or 1}
    file = m.SpecFile(path="/a", text="a")
    cases: list[tuple[m.CreateWorkflowRequest, tuple[str, ...]]] = [
        (m.CreateWorkflowRequest(), ("name",)),
        (m.CreateWorkflowRequest(name="x" * 201), ("name",)),
        (
            m.CreateWorkflowRequest(name="w", agent_definition=ParseDict(deep, Struct())),
            ("agent_definition",),
        ),
        (m.CreateWorkflowRequest(name="w", files=[file, file]), ("files",)),
        (m.CreateWorkflowRequest(name="w", files=[m.SpecFile(path="a", text="a")]), ("files",)),
        (m.CreateWorkflowRequest(name="w", files=[m.SpecFile(path="", text="a")]), ("files",)),
        (m.CreateWorkflowRequest(files=[m.SpecFile(path="/a", text="\0")]), ("name", "files")),
        (
            m.CreateWorkflowRequest(name="w", files=[m.SpecFile(path=f"/{n}") for n in range(501)]),
            ("files",),
        ),
    ]
    for request, named in cases:
        refusal = await refused(ann.workflows.CreateWorkflow(request, metadata=ann.metadata))
        # An object too deep is an object all the same: it just cannot be kept.
        reason = "unprocessable" if named == ("agent_definition",) else "invalid_argument"
        assert (refusal.code, refusal.reason) == (INVALID, reason)
        assert refusal.fields == named


async def test_a_wrong_page_is_refused_naming_each_field(hub: GrpcHub) -> None:
    ann = hub.caller()
    refinement = await ann.start()
    await ann.events(refinement.thread_id)
    thread = refinement.thread_id
    cases: list[tuple[Any, Any, tuple[str, ...]]] = [
        (ann.proposals.ListProposals, m.ListProposalsRequest(page_size=201), ("page_size",)),
        (ann.proposals.ListProposals, m.ListProposalsRequest(workflow_id="x"), ("workflow_id",)),
        (ann.proposals.ListProposals, m.ListProposalsRequest(status=99), ("status",)),  # type: ignore[arg-type]
        (ann.proposals.ListProposals, m.ListProposalsRequest(page_token="x"), ("page_token",)),
        (ann.workflows.ListWorkflows, m.ListWorkflowsRequest(page_size=201), ("page_size",)),
        (ann.workflows.ListWorkflows, m.ListWorkflowsRequest(page_token="x"), ("page_token",)),
        (
            ann.refinements.ListEvents,
            m.ListEventsRequest(thread_id=thread, limit=1001, wait_seconds=26),
            ("limit", "wait_seconds"),
        ),
    ]
    for call, request, named in cases:
        refusal = await refused(call(request, metadata=ann.metadata))
        assert (refusal.code, refusal.reason) == (INVALID, "invalid_argument")
        assert refusal.fields == named


async def test_a_cursor_outside_the_journal_is_refused_with_the_bounds(hub: GrpcHub) -> None:
    ann = hub.caller()
    refinement = await ann.start()
    last = (await ann.events(refinement.thread_id))[-1].seq
    for beyond in (last + 1, 0xFFFFFFFF):
        request = m.ListEventsRequest(thread_id=refinement.thread_id, after_seq=beyond)
        for call in (
            ann.watch(refinement.thread_id, beyond).read(),
            ann.refinements.ListEvents(request, metadata=ann.metadata),
        ):
            refusal = await refused(call)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.OUT_OF_RANGE, "cursor_out_of_range")
            assert refusal.metadata == {
                "floor": "1",
                "last_seq": str(last),
            }
    assert hub.core.broadcaster.readers == 0


async def test_bytes_that_are_not_a_message_are_an_invalid_argument(hub: GrpcHub) -> None:
    ann = hub.caller()
    service = "/ide_orchestrator.v1.RefinementService"
    # Cut off, and a string that is not UTF-8.
    for raw in (b"\x0a\xff", b"\x0a\x02\xff\xfe"):
        call = hub.channel.unary_unary(f"{service}/GetRefinement")(raw, metadata=ann.metadata)
        refusal = await refused(call)
        assert (refusal.code, refusal.reason, refusal.fields) == (INVALID, "invalid_argument", ("body",))
        watch = hub.channel.unary_stream(f"{service}/WatchRefinement")(raw, metadata=ann.metadata)
        assert (await refused(watch.read())).fields == ("body",)


async def test_fields_from_a_newer_contract_are_passed_over(hub: GrpcHub) -> None:
    ann = hub.caller()
    raw = m.CreateWorkflowRequest(name="w").SerializeToString() + b"\xc2\x3e\x03new"
    method = "/ide_orchestrator.v1.WorkflowService/CreateWorkflow"
    answer = await hub.channel.unary_unary(method)(raw, metadata=ann.metadata)
    assert m.CreateWorkflowResponse.FromString(answer).workflow.name == "w"


async def test_a_request_above_the_limit_is_refused_before_it_is_read(hub: GrpcHub) -> None:
    ann = hub.caller()
    request = m.StartRefinementRequest(user_prompt="x" * (4 << 20))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ann.refinements.StartRefinement(request, metadata=ann.metadata)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_runtime_that_is_away_is_unavailable_and_the_proposal_failed(database: str) -> None:
    async with open_grpc_hub(database, runtime_url="http://127.0.0.1:9") as hub:
        ann: Caller = hub.caller()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ann.start()
        refusal = refusal_of(caught.value)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "runtime_unavailable")
        assert refusal.retry_after_s
        listed = await ann.proposals.ListProposals(m.ListProposalsRequest(), metadata=ann.metadata)
        (proposal,) = listed.proposals
        assert proposal.id in refusal.text
        assert refusal.metadata == {"proposal_id": proposal.id}
        assert proposal.status == m.ProposalStatus.PROPOSAL_STATUS_FAILED
        assert proposal.failure.reason == "runtime_unavailable"


@pytest.mark.parametrize(
    ("runtime", "code", "reason"),
    [
        (ScriptedRuntime(invokes=[422]), grpc.StatusCode.FAILED_PRECONDITION, "runtime_refused"),
        (ScriptedRuntime(invokes=[503]), grpc.StatusCode.FAILED_PRECONDITION, "runtime_refused"),
        (ResettingRuntime(), grpc.StatusCode.UNKNOWN, "invoke_uncertain"),
    ],
    ids=["refused", "failed", "no answer"],
)
async def test_a_client_with_a_retry_policy_starts_a_run_once_that_the_runtime_does_not_take(
    database: str, runtime: ScriptedRuntime, code: grpc.StatusCode, reason: str
) -> None:
    async with (
        serve_runtime(runtime) as url,
        open_grpc_hub(database, runtime_url=url) as hub,
        grpc.aio.insecure_channel(hub.address, options=RETRYING) as channel,
    ):
        ann = hub.caller(channel=channel)
        request = m.StartRefinementRequest(workflow_id=await ann.workflow(), user_prompt="x", request_id="k")
        refusal = await refused(ann.refinements.StartRefinement(request, metadata=ann.metadata))
        assert (refusal.code, refusal.reason, refusal.retry_after_s) == (code, reason, None)
        listed = await ann.proposals.ListProposals(m.ListProposalsRequest(), metadata=ann.metadata)
        assert [proposal.id for proposal in listed.proposals] == [refusal.metadata["proposal_id"]]
        assert len(runtime.jobs) == 1

        # A person decides to try again: the key is free.
        again = await refused(ann.refinements.StartRefinement(request, metadata=ann.metadata))
        assert again.metadata["proposal_id"] != refusal.metadata["proposal_id"]


def interceptor_for_anyone() -> CallInterceptor:
    """The hub's interceptor, without authentication."""

    async def identify(method: str, context: Context) -> Identity:
        return Identity(context.peer(), Group("anyone", 10, 10), (), "anyone")

    observer = Metrics()
    return CallInterceptor(
        identify,
        Peers(observer),
        Admission(observer, max_calls=10),
        UnreadCalls(observer),
        PublicStreams(observer),
        FairBudget(),
    )


async def test_a_long_message_of_the_runtimes_is_cut_off_so_that_its_details_arrive() -> None:
    async def stream(_request: bytes, context: Any) -> None:
        raise RuntimeRefused("\N{GRINNING FACE}" * 20_000, status=422)

    server = grpc.aio.server(interceptors=(interceptor_for_anyone(),))
    handlers = {"Stream": grpc.unary_stream_rpc_method_handler(stream, bytes, bytes)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.Service", handlers),))  # type: ignore[arg-type]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        refusal = await refused(channel.unary_stream("/a.Service/Stream")(b"").read())
        assert refusal.reason == "runtime_refused"
        assert len(refusal.text) == 256
    await server.stop(0)


async def test_errors_carry_the_trace_id_of_the_call(hub: GrpcHub) -> None:
    ann = hub.caller()
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    metadata = (*ann.metadata, ("traceparent", f"00-{trace_id}-00f067aa0ba902b7-01"))
    request = m.GetRefinementRequest(thread_id=ABSENT)
    assert (await refused(ann.refinements.GetRefinement(request, metadata=metadata))).trace_id == trace_id
    made = {
        (await refused(ann.refinements.GetRefinement(request, metadata=who))).trace_id
        for who in (ann.metadata, ann.metadata, ())
    }
    assert len(made) == 3
    assert all(len(each) == 32 for each in made)


async def test_a_fault_of_the_hub_is_internal_and_leaks_nothing(logged: list[Any]) -> None:
    async def unary(_request: bytes, _context: Any) -> NoReturn:
        raise RuntimeError("the prompt was: top secret")

    async def stream(_request: bytes, context: Any) -> None:
        await context.write(b"first")
        raise RuntimeUnavailable("away") from RuntimeError("top secret")

    async def unserialisable(_request: bytes, _context: Any) -> object:
        return object()

    def serialise(_value: object) -> bytes:
        raise ValueError("top secret")

    server = grpc.aio.server(interceptors=(interceptor_for_anyone(),))
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary, bytes, bytes),
        "Stream": grpc.unary_stream_rpc_method_handler(stream, bytes, bytes),
        "Unserialisable": grpc.unary_unary_rpc_method_handler(unserialisable, bytes, serialise),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.Service", handlers),))  # type: ignore[arg-type]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        answered = []
        for name in ("Unary", "Unserialisable"):
            refusal = await refused(channel.unary_unary(f"/a.Service/{name}")(b""))
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.INTERNAL, "internal")
            assert "secret" not in refusal.text
            answered.append((f"/a.Service/{name}", refusal.trace_id))
        assert [entry["event"] for entry in logged] == ["grpc_call_failed"] * 2
        assert [(entry["method"], entry["trace_id"]) for entry in logged] == answered
        call = channel.unary_stream("/a.Service/Stream")(b"")
        assert await call.read() == b"first"
        refusal = await refused(call.read())
        assert (refusal.code, refusal.text) == (grpc.StatusCode.UNAVAILABLE, "away")
        assert len(logged) == 2, "an error that callers may see is not a fault"
    await server.stop(0)
