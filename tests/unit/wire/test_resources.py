from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from server.domain.model import Failure, Page, Proposal, ProposalStatus, Refinement, Workflow
from server.domain.proposals.files import File, text_bytes
from server.domain.proposals.partition import RejectedFile
from server.wire import messages as m
from server.wire.proposals import (
    STATUS_BY_NUMBER,
    ProposalPage,
    proposal_json_parts,
    proposal_message,
)
from server.wire.refinements import Refinement as RefinementJson
from server.wire.refinements import StartedRefinement, refinement_message
from server.wire.text import dumps
from server.wire.workflows import Workflow as WorkflowJson
from server.wire.workflows import workflow_message, workflows_message


def sent(model: object) -> Any:
    return json.loads(dumps(model))


NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = datetime(2026, 1, 2, 3, 4, 6, 500_000, tzinfo=UTC)
ID = [UUID(int=n) for n in range(9)]

REFINEMENT = Refinement(ID[1], ID[2], ID[3], ProposalStatus.PROCESSING, 1, 7, 1, NOW)
PROPOSAL = Proposal(
    id=ID[2],
    draft_id=ID[4],
    workflow_id=ID[3],
    thread_id=str(ID[1]),
    status=ProposalStatus.COMPLETED,
    user_prompt="Add",
    created_at=NOW,
    created_by_user_id=ID[5],
    context_file_path="/a",
    completed_at=LATER,
    file_count=2,
    files={
        "/b": File(b"\xff", False),
        "/a": File(text_bytes("x\ny\ud800"), True, "t", extra={"deep": "[1]"}),
    },
    portability={"/b": ("device_name",)},
    rejected_files=(
        RejectedFile("/\ud800", "lone_surrogate", "00" * 32, 3),
        RejectedFile("x" * 2000, "too_long"),
    ),
)
WORKFLOW = Workflow(ID[3], "W", ID[5], {"nodes": [1]}, ID[4], NOW, {"/a": "x"})


def test_a_start_answers_with_the_five_legacy_fields() -> None:
    assert sent(StartedRefinement.of(REFINEMENT)) == {
        "proposal_id": str(ID[2]),
        "thread_id": str(ID[1]),
        "status": "processing",
        "websocket_url": f"/api/ws/refinements/{ID[1]}",
        "created_at": "2026-01-02T03:04:05Z",
    }


def test_a_refinement_as_json() -> None:
    failed = replace(
        REFINEMENT, status=ProposalStatus.FAILED, completed_at=LATER, failure=Failure("upstream_error", "no")
    )
    assert sent(RefinementJson.of(failed)) == {
        "thread_id": str(ID[1]),
        "proposal_id": str(ID[2]),
        "workflow_id": str(ID[3]),
        "status": "failed",
        "epoch": 1,
        "last_seq": 7,
        "floor": 1,
        "created_at": "2026-01-02T03:04:05Z",
        "completed_at": "2026-01-02T03:04:06.500Z",
        "failure": {"reason": "upstream_error", "message": "no"},
        "waits_for_proposal_id": None,
        "websocket_url": f"/api/ws/refinements/{ID[1]}",
        "events_url": f"/api/refinements/{ID[1]}/events",
    }


def test_a_proposal_as_json_can_be_dumped_with_lone_surrogates_in_it() -> None:
    told = json.loads(b"".join(proposal_json_parts(PROPOSAL)))
    assert told["generated_files"] == {
        "/a": {
            "content": ["x", "y\ud800"],
            "created_at": "t",
            "sha256": PROPOSAL.files["/a"].sha256,
            "size_bytes": 6,
            "extra": {"deep": [1]},
        },
        "/b": {
            "content": ["/w=="],
            "encoding": "base64",
            "sha256": PROPOSAL.files["/b"].sha256,
            "size_bytes": 1,
            "portability": ["device_name"],
        },
    }
    assert told["rejected_files"] == [
        {"path": "/\ud800", "reason": "lone_surrogate", "sha256": "00" * 32, "size_bytes": 3},
        {"path": "x" * 1024, "reason": "too_long", "sha256": None, "size_bytes": None},
    ]
    assert list(told["generated_files"]) == ["/a", "/b"]
    assert told["file_count"] == 2
    assert told["resolved_at"] is told["resolved_by_user_id"] is told["failure"] is None


def test_files_are_null_before_the_end_and_in_lists_and_empty_when_there_are_none() -> None:
    running = replace(PROPOSAL, status=ProposalStatus.PROCESSING, files={}, file_count=0)
    empty = replace(PROPOSAL, status=ProposalStatus.FAILED, files={}, file_count=0)
    assert json.loads(b"".join(proposal_json_parts(running)))["generated_files"] is None
    assert json.loads(b"".join(proposal_json_parts(empty)))["generated_files"] == {}
    listed = sent(ProposalPage.of(Page((PROPOSAL,), "next")))
    assert listed["items"][0]["generated_files"] is None
    assert listed["next_cursor"] == "next"


def test_messages_and_json_say_the_same() -> None:
    proposal = proposal_message(PROPOSAL)
    assert [file.path for file in proposal.generated_files] == ["/a", "/b"]
    assert proposal.generated_files[0].text == "x\ny\ufffd"
    assert proposal.generated_files[0].sanitized
    assert proposal.generated_files[0].size_bytes == 6
    assert proposal.generated_files[1].binary == b"\xff"
    assert (dict(proposal.generated_files[0].extra), list(proposal.generated_files[1].portability)) == (
        {"deep": "[1]"},
        ["device_name"],
    )
    assert list(proposal.rejected_files) == [
        m.RejectedFile(path="/\ufffd", reason="lone_surrogate", sha256="00" * 32, size_bytes=3),
        m.RejectedFile(path="x" * 1024, reason="too_long"),
    ]
    assert not proposal.HasField("context_selection")
    assert not proposal.HasField("failure")
    assert not proposal.HasField("resolve_time")
    assert proposal.complete_time.ToJsonString() == "2026-01-02T03:04:06.500Z"
    refinement = refinement_message(REFINEMENT)
    assert refinement.status == m.ProposalStatus.PROPOSAL_STATUS_PROCESSING
    assert not refinement.HasField("complete_time")
    workflow = workflow_message(WORKFLOW)
    assert dict(workflow.agent_definition) == {"nodes": [1]}
    assert workflows_message(Page((WORKFLOW,))).next_page_token == ""
    assert sent(WorkflowJson.of(WORKFLOW))["files"] == {"/a": "x"}


def test_every_status_has_a_number_in_the_contract_and_back() -> None:
    assert set(STATUS_BY_NUMBER.values()) == set(ProposalStatus)
    assert set(STATUS_BY_NUMBER) == set(m.ProposalStatus.values()) - {0}
