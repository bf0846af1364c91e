"""The job of a refinement: what the runtime gets. Pure."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from server.domain.drafts.context import JobContext, check_selection, with_context
from server.domain.drafts.draft import DraftVersion
from server.domain.errors import Conflict
from server.domain.model import StartRefinement, Workflow
from server.domain.runs.runtime import Invocation
from server.encoding.json_object import JsonObject, values_of


def job_for(
    workflow: Workflow,
    command: StartRefinement,
    prompt: str,
    job_context: JobContext,
    traceparent: str,
    *,
    may_wait: bool = False,
) -> Invocation:
    """The runtime's job, still without the files of the draft. workflow: with the file that the request is
    about. prompt: what the agent is asked. traceparent: of the trace that the run belongs to, or empty.
    may_wait: the run may be queued, and the draft get files meanwhile.

    Prompt, file and selection are in both `input_payload` and `agent_definition`: the published runtime
    reads only the latter.
    """
    context: dict[str, Any] = {}
    if command.context_file_path is not None:
        context["context_file_path"] = command.context_file_path
    if command.context_selection is not None:
        context["context_selection"] = command.context_selection
    text = _context_text(workflow, command)
    if text is not None and command.context_file_path and job_context.has_lines:
        prompt = with_context(prompt, command.context_file_path, command.context_selection, text)
    draft = None
    # `files` has the texts alone, and the first version has nothing else; a later one may have other files.
    may_have_files = workflow.files or workflow.has_files or workflow.draft_version > 1 or may_wait
    if job_context.has_files and may_have_files:
        draft = DraftVersion(workflow.current_draft_id, workflow.draft_version)
    return Invocation(
        # A trace id has 16 bytes, like a UUID.
        trace_id=UUID(traceparent.split("-")[1]) if traceparent else uuid4(),
        traceparent=traceparent,
        job_id=uuid4(),
        agent_definition=JsonObject.of(
            {**values_of(workflow.agent_definition), "user_request": prompt, **context}
        ),
        input_payload={"messages": [{"role": "user", "content": prompt}], **context},
        draft=draft,
    )


def check_refinable(workflow: Workflow) -> None:
    """Check that the workflow may be refined. Raises Conflict."""
    if workflow.archived or workflow.locked:
        word = "archived" if workflow.archived else "locked"
        raise Conflict(f"the workflow is {word}: it cannot be refined")


def check_context(workflow: Workflow, command: StartRefinement) -> None:
    """Check that the workflow's file has the lines that the request is about. Raises Unprocessable."""
    text = _context_text(workflow, command)
    if text is not None and command.context_selection is not None:
        check_selection(command.context_selection, text)


def _context_text(workflow: Workflow, command: StartRefinement) -> str | None:
    """The text of the file that the request is about; None when the draft does not have it: the agent may be
    asked for a new one."""
    return workflow.files.get(command.context_file_path or "")
