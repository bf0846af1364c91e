"""What a job brings of the workflow's draft."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from server.domain.drafts.context import JobContext
from server.domain.drafts.draft import DraftVersion
from server.domain.jobs import job_for
from server.domain.model import StartRefinement, Workflow

IDS = [UUID(int=number) for number in range(3)]


@pytest.mark.parametrize(
    ("texts", "version", "given"),
    [({"/a": "x"}, 1, True), ({"/a": "x"}, 2, True), ({}, 2, True), ({}, 1, False)],
)
def test_a_run_is_given_its_draft_unless_that_has_never_had_a_file(
    texts: dict[str, str], version: int, given: bool
) -> None:
    # A draft whose files are all binary has no texts.
    at = datetime(2026, 1, 1, tzinfo=UTC)
    workflow = Workflow(IDS[0], "w", IDS[1], {}, IDS[2], at, texts, draft_version=version)
    command = StartRefinement(workflow.id, "prompt")
    job = job_for(workflow, command, "prompt", JobContext.FILES, "")
    assert job.draft == (DraftVersion(IDS[2], version) if given else None)
