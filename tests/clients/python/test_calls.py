"""Calls of the client: a start that takes effect once, drafts, reviews, lists and downloads."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import httpx
import pytest

from ide_orchestrator.client import Changed, Hub, HubError, Refused
from ide_orchestrator.client.grpc import GrpcHub
from ide_orchestrator.client.resources import ActionDecision, Proposal
from ide_orchestrator.v1.proposal_pb2 import (
    GetProposalRequest,
    ListProposalsRequest,
    ReadArchiveRequest,
)
from ide_orchestrator.v1.review_pb2 import (
    DECISION_REJECTED,
    AcceptProposalRequest,
    FileDecision,
    SetDecisionsRequest,
)
from ide_orchestrator.v1.workflow_pb2 import CreateWorkflowRequest, GetWorkflowRequest, ListWorkflowsRequest
from tests.clients.python.hubs import WAYS, open_hub, open_way
from tests.support.hub import RunningHub, running_hub
from tests.support.recordings import expected, facts_of
from tests.support.servers import answer, http_server

ABSENT = "00000000-0000-4000-8000-000000000000"
PROMPT = "add web search [[replay:short_run]]"


@pytest.fixture
async def running(database: str) -> AsyncIterator[RunningHub]:
    async with running_hub(database) as hub:
        yield hub


@pytest.fixture
async def hub(running: RunningHub) -> AsyncIterator[Hub]:
    async with open_hub(running, running.token()) as client:
        yield client


@pytest.fixture
async def grpc_hub(running: RunningHub) -> AsyncIterator[GrpcHub]:
    async with GrpcHub(running.grpc, running.token()) as client:
        yield client


async def a_proposal(hub: Hub, **files: str) -> Proposal:
    """A proposal whose run has completed."""
    workflow = await hub.create_workflow("demo", {f"/{name}.md": text for name, text in files.items()})
    started = await hub.start(workflow["id"], PROMPT)
    async for _ in hub.follow(started["thread_id"]):
        pass
    return await hub.proposal(started["proposal_id"])


async def test_a_proposal_is_decided_about_and_accepted(hub: Hub) -> None:
    proposal = await a_proposal(hub, mine="a\n")
    files = proposal["generated_files"]
    assert files is not None
    assert facts_of(files) == expected("short_run")["files"]
    differing = [file async for file in hub.diff(proposal["id"])]
    left_out, *kept = [file["path"] for file in differing if file["kind"] == "added"]
    proposal = await hub.decide(proposal, [{"path": left_out, "decision": "rejected"}])
    would = await hub.accept(proposal, validate_only=True)
    assert would["draft"]["version"] == 1
    accepted = await hub.accept(proposal, comment="good")
    assert accepted["draft"]["version"] == 2
    draft = await hub.draft(accepted["draft"]["id"])
    assert draft["files"] is not None
    assert draft["files"].keys() == {"/mine.md", *kept}
    with pytest.raises(Refused, match="409"):
        await hub.reject(accepted["proposal"])


async def test_a_proposal_is_revised_and_the_next_one_rejected(hub: Hub) -> None:
    proposal = await a_proposal(hub)
    started = await hub.revise(proposal, f"shorter {PROMPT}", request_id="once")
    again = await hub.revise(proposal, f"shorter {PROMPT}", request_id="once")
    assert again == started
    async for _ in hub.follow(started["thread_id"]):
        pass
    next_one = await hub.proposal(started["proposal_id"], contents=False)
    assert next_one["revises_proposal_id"] == proposal["id"]
    rejected = await hub.reject(next_one, "too long")
    assert (rejected["resolution"], rejected["resolution_comment"]) == ("rejected", "too long")
    assert [each["id"] async for each in hub.proposals(resolution="rejected")] == [next_one["id"]]


async def test_a_change_of_what_was_read_is_told_with_its_conflicts(hub: Hub) -> None:
    proposal = await a_proposal(hub, mine="a\n")
    draft = await hub.draft(proposal["draft_id"], contents=False)
    path = next(iter(proposal["generated_files"] or ()))
    written = await hub.write_draft(draft, {path: "other\n"}, ["/mine.md"])
    with pytest.raises(Changed) as stale:
        await hub.write_draft(draft, {"/b.md": "b"})
    assert stale.value.code == "etag_mismatch"
    with pytest.raises(Changed) as moved:
        await hub.accept(proposal)
    assert moved.value.code == "draft_moved"
    assert [conflict["path"] for conflict in moved.value.problem["conflicts"]] == [path]
    etag = moved.value.problem["draft_etag"]
    accepted = await hub.accept(
        proposal, resolved_files=[{"path": path, "side": "proposal"}], draft_etag=etag
    )
    assert accepted["draft"]["version"] == written["version"] + 1
    restored = await hub.restore_draft(accepted["draft"], 1)
    assert [each["version"] async for each in hub.draft_versions(restored["id"])] == [4, 3, 2, 1]


async def test_files_archives_and_patches_are_downloaded(hub: Hub) -> None:
    proposal = await a_proposal(hub)
    files = proposal["generated_files"]
    assert files
    path, file = next(iter(files.items()))
    content = await hub.read_file(proposal["id"], file["sha256"])
    assert len(content) == file["size_bytes"]
    archive = b"".join([piece async for piece in hub.archive(proposal["id"])])
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert opened.read(path.lstrip("/")) == content
    patch = b"".join([piece async for piece in hub.patch(proposal["id"])])
    assert patch.startswith(b"diff --git ")
    with pytest.raises(Refused):
        await anext(hub.archive(ABSENT))


@pytest.mark.parametrize("way", WAYS)
async def test_a_question_of_the_agent_is_answered_while_its_run_is_followed(database: str, way: str) -> None:
    seqs, decided = [], []
    async with (
        running_hub(database, runtime_can_resume=True) as running,
        open_hub(running, running.token()) as calls,
        open_way(way, running, running.token()) as (hub, how),
    ):
        workflow = await calls.create_workflow("demo")
        started = await calls.start(workflow["id"], "[[replay:approval]]")
        thread_id = started["thread_id"]
        async for event in hub.follow(thread_id, **how):
            if event.HasField("input_requested"):
                [action] = event.input_requested.actions
                edit: ActionDecision = {"decision": "edit", "edited_arguments": action.arguments}
                reject: ActionDecision = {"decision": "reject", "message": "No."}
                decision = reject if seqs else edit
                for _ in range(2):
                    await hub.reply(thread_id, event.seq, [decision], request_id=f"reply-{event.seq}")
                seqs.append(event.seq)
            if event.HasField("input_answered"):
                decided += event.input_answered.decisions
        assert decided == ["edit", "reject"]
        with pytest.raises(Refused) as late:
            await hub.reply(thread_id, seqs[0], [{"decision": "approve"}])
        assert late.value.code == "input_closed"


async def test_lists_go_on_over_all_pages(hub: Hub) -> None:
    made = [(await hub.create_workflow(f"w{number}"))["id"] for number in range(5)]
    found = [each["id"] async for each in hub.items("/api/workflows", limit=2)]
    assert found == made[::-1]
    assert [each["id"] async for each in hub.workflows()] == found


async def test_a_start_whose_response_is_lost_takes_effect_once(running: RunningHub) -> None:
    lost: list[bytes] = []

    async def _forward(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bytes:
        """The hub's response; nothing for the first start."""
        method, path, *_ = head.decode().split(" ", 2)
        sent = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            response = await http.request(method, running.http + path, content=body, headers=sent)
        if path.endswith("/refinements") and not lost:
            lost.append(response.content)
            return b""
        return answer(response.status_code, response.content)

    async with http_server(_forward) as url, Hub(url, running.token(), trust_env=False) as hub:
        workflow = await hub.create_workflow("demo")
        started = await hub.start(workflow["id"], PROMPT)
        assert json.loads(lost[0]) == started
        assert [each["id"] async for each in hub.proposals()] == [started["proposal_id"]]


async def test_errors_are_the_same_over_http_and_grpc(hub: Hub, grpc_hub: GrpcHub) -> None:
    async def outcome(call: Awaitable[Any]) -> tuple[type, str, set[str]]:
        with pytest.raises(HubError) as refused:
            await call
        assert refused.value.trace_id
        return refused.type, refused.value.code, set(refused.value.problem.get("fields", ()))

    absent = GetWorkflowRequest(workflow_id=ABSENT)
    nameless = CreateWorkflowRequest()
    assert (
        await outcome(hub.workflow(ABSENT))
        == await outcome(grpc_hub.call(grpc_hub.workflows.GetWorkflow, absent))
        == (Refused, "not_found", set())
    )
    assert (
        await outcome(hub.create_workflow(""))
        == await outcome(grpc_hub.call(grpc_hub.workflows.CreateWorkflow, nameless))
        == (Refused, "invalid_argument", {"name"})
    )


async def test_the_same_is_done_over_grpc(grpc_hub: GrpcHub) -> None:
    made = await grpc_hub.call(grpc_hub.workflows.CreateWorkflow, CreateWorkflowRequest(name="demo"))
    another = await grpc_hub.call(grpc_hub.workflows.CreateWorkflow, CreateWorkflowRequest(name="other"))
    started = await grpc_hub.start(made.workflow.id, PROMPT)
    kinds = [event.WhichOneof("kind") async for event in grpc_hub.follow(started.thread_id)]
    assert (kinds[0], kinds[-1]) == ("run_started", "terminal")
    asked = GetProposalRequest(proposal_id=started.proposal_id)
    proposal = (await grpc_hub.call(grpc_hub.proposals.GetProposal, asked)).proposal
    decision = FileDecision(path=proposal.generated_files[0].path, decision=DECISION_REJECTED)
    decide = SetDecisionsRequest(proposal_id=proposal.id, etag=proposal.etag, decisions=[decision])
    decided = await grpc_hub.call(grpc_hub.reviews.SetDecisions, decide)
    accept = AcceptProposalRequest(proposal_id=proposal.id, etag=decided.proposal.etag)
    accepted = await grpc_hub.call(grpc_hub.reviews.AcceptProposal, accept)
    assert accepted.change_count == len(proposal.generated_files) - 1
    archive = ReadArchiveRequest(proposal_id=proposal.id)
    pieces = [piece.data async for piece in grpc_hub.read(grpc_hub.proposals.ReadArchive, archive)]
    assert zipfile.is_zipfile(io.BytesIO(b"".join(pieces)))
    listed = grpc_hub.items(grpc_hub.proposals.ListProposals, ListProposalsRequest(page_size=1), "proposals")
    assert [each.id async for each in listed] == [proposal.id]
    asked_for = ListWorkflowsRequest(page_size=1)
    all_of_them = grpc_hub.items(grpc_hub.workflows.ListWorkflows, asked_for, "workflows")
    assert [each.id async for each in all_of_them] == [another.workflow.id, made.workflow.id]
    assert asked_for.page_token == ""
