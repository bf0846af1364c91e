"""What is large is read with the client as it comes, whatever the transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ide_orchestrator.client import Hub
from ide_orchestrator.client.grpc import GrpcHub
from ide_orchestrator.v1.proposal_pb2 import ListProposalsRequest, ReadFileRequest
from ide_orchestrator.v1.workflow_pb2 import ListWorkflowsRequest
from tests.clients.python.hubs import WAYS, followed, open_hub
from tests.support.hub import RunningHub, running_hub
from tests.support.recordings import write_recording

#: A state frame of 6 MB, one file of which is above what a message of gRPC may have.
FILES = {"/large.txt": "é" * ((5 << 19) - 1) + "\n", "/other.txt": "x" * 1_000_000}
PROMPT = "€" * 65_000


@pytest.fixture
async def running(database: str, tmp_path: Path) -> AsyncIterator[RunningHub]:
    write_recording(tmp_path, "large", {path: {"content": text} for path, text in FILES.items()})
    async with running_hub(database, recordings=tmp_path) as hub:
        yield hub


@pytest.fixture
async def hub(running: RunningHub) -> AsyncIterator[Hub]:
    async with open_hub(running, running.token()) as client:
        yield client


@pytest.fixture
async def grpc_hub(running: RunningHub) -> AsyncIterator[GrpcHub]:
    async with GrpcHub(running.grpc, running.token()) as client:
        yield client


async def test_a_large_state_and_a_large_file(running: RunningHub, hub: Hub, grpc_hub: GrpcHub) -> None:
    workflow = await hub.create_workflow("large")
    started = await hub.start(workflow["id"], "[[replay:large]]")
    for way in WAYS:
        files = {
            change.path: change.text
            async for event in followed(way, running, running.token(), started["thread_id"])
            for change in event.state_update.files
        }
        assert files == FILES, way
    found = (await hub.proposal(started["proposal_id"]))["generated_files"]
    assert found is not None
    assert {path: "\n".join(file["content"]) for path, file in found.items()} == FILES
    sha256 = found["/large.txt"]["sha256"]
    assert (await hub.read_file(started["proposal_id"], sha256)).decode() == FILES["/large.txt"]
    asked = ReadFileRequest(proposal_id=started["proposal_id"], sha256=sha256)
    pieces = [piece.data async for piece in grpc_hub.read(grpc_hub.proposals.ReadFile, asked)]
    assert b"".join(pieces).decode() == FILES["/large.txt"]


async def test_many_large_prompts_and_definitions(hub: Hub, grpc_hub: GrpcHub) -> None:
    definition = {"nodes": [{"id": "a", "prompt": "d" * 249_000}]}
    workflows = [
        (await hub.create_workflow(f"w{number}", agent_definition=definition))["id"] for number in range(20)
    ]
    started = await asyncio.gather(*(hub.start(workflows[0], PROMPT) for _ in range(25)))
    proposals = {each["proposal_id"] for each in started}
    assert [each["id"] async for each in hub.workflows()] == workflows[::-1]
    assert {each["id"] async for each in hub.proposals()} == proposals
    listed = grpc_hub.items(grpc_hub.workflows.ListWorkflows, ListWorkflowsRequest(), "workflows")
    assert [each.id async for each in listed] == workflows[::-1]
    listed = grpc_hub.items(grpc_hub.proposals.ListProposals, ListProposalsRequest(), "proposals")
    assert {each.id async for each in listed if each.user_prompt == PROMPT} == proposals
