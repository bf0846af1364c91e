"""Workflows and proposals over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from google.protobuf.json_format import MessageToDict

from server.wire import messages as m
from tests.support.grpc_interface import GrpcHub, open_grpc_hub
from tests.support.recordings import expected


@pytest.fixture
async def hub(database: str) -> AsyncIterator[GrpcHub]:
    async with open_grpc_hub(database) as opened:
        yield opened


@pytest.mark.parametrize("recording", ["short_run", "long_run", "error_mid_stream"])
async def test_a_refinement_ends_with_the_recordings_files(hub: GrpcHub, recording: str) -> None:
    ann = hub.caller()
    refinement = await ann.start(f"[[replay:{recording}]]")
    assert refinement.status == m.ProposalStatus.PROPOSAL_STATUS_PROCESSING
    events = await ann.events(refinement.thread_id)
    request = m.GetProposalRequest(proposal_id=refinement.proposal_id)
    proposal = (await ann.proposals.GetProposal(request, metadata=ann.metadata)).proposal
    wanted = expected(recording)
    failed = recording == "error_mid_stream"
    outcome = "FAILED" if failed else "COMPLETED"
    assert m.ProposalStatus.Name(proposal.status) == f"PROPOSAL_STATUS_{outcome}"
    assert m.Outcome.Name(events[-1].terminal.outcome) == f"OUTCOME_{outcome}"
    files = {file.path: file.sha256 for file in proposal.generated_files}
    assert files == {path: file["sha256"] for path, file in wanted["files"].items()}
    assert proposal.file_count == len(files) == events[-1].terminal.file_count
    assert bool(proposal.failure.reason) == failed


async def test_a_workflow_comes_back_as_it_was_made(hub: GrpcHub) -> None:
    ann = hub.caller()
    request = m.CreateWorkflowRequest(
        name="flow", files=[m.SpecFile(path="/b", text="é\r\n"), m.SpecFile(path="/a")]
    )
    request.agent_definition.update({"nodes": [{"id": "n", "depth": 1.5}], "on": True, "none": None})
    made = (await ann.workflows.CreateWorkflow(request, metadata=ann.metadata)).workflow
    asked = m.GetWorkflowRequest(workflow_id=made.id)
    assert (await ann.workflows.GetWorkflow(asked, metadata=ann.metadata)).workflow == made
    assert made.name == "flow"
    assert [(file.path, file.text) for file in made.files] == [("/a", ""), ("/b", "é\r\n")]
    assert MessageToDict(made.agent_definition) == MessageToDict(request.agent_definition)


async def test_pages_bring_each_item_once_newest_first(hub: GrpcHub) -> None:
    ann = hub.caller()
    made = [await ann.workflow() for _ in range(5)]
    seen: list[str] = []
    token = ""
    while True:
        request = m.ListWorkflowsRequest(page_size=2, page_token=token)
        page = await ann.workflows.ListWorkflows(request, metadata=ann.metadata)
        assert len(page.workflows) <= 2
        assert not any(workflow.files for workflow in page.workflows)
        seen.extend(workflow.id for workflow in page.workflows)
        token = page.next_page_token
        if not token:
            break
    assert seen == made[::-1]


async def test_proposals_are_listed_by_workflow_and_status(hub: GrpcHub) -> None:
    ann = hub.caller()
    good = await ann.start()
    bad = await ann.start("[[replay:error_mid_stream]]")
    for refinement in (good, bad):
        await ann.events(refinement.thread_id)

    async def listed(**fields: str | int) -> list[str]:
        request = m.ListProposalsRequest(**fields)  # type: ignore[arg-type]
        page = await ann.proposals.ListProposals(request, metadata=ann.metadata)
        return [proposal.id for proposal in page.proposals]

    assert await listed() == [bad.proposal_id, good.proposal_id]
    assert await listed(workflow_id=good.workflow_id) == [good.proposal_id]
    assert await listed(status=m.ProposalStatus.PROPOSAL_STATUS_FAILED) == [bad.proposal_id]
    assert await listed(status=m.ProposalStatus.PROPOSAL_STATUS_CANCELLED) == []
