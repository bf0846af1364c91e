"""Workflows: create, list, read."""

from __future__ import annotations

from uuid import UUID

from litestar import get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from server.domain.drafts.draft import sizes_of, text_paths
from server.domain.fair_budget import Reservation
from server.domain.off_loop import REQUESTS
from server.http.dependencies import Cases, query_dependency
from server.http.json_io import MAX_BODY_BYTES, MAX_WORKFLOW_BYTES, HubRequest, JsonResponse
from server.http.large_answers import JsonText, LargeAnswer
from server.http.lists import LINK, list_text
from server.http.openapi import header, operation
from server.wire.addresses import workflow_url
from server.wire.workflows import (
    CreateWorkflowRequest,
    UpdateWorkflowRequest,
    Workflow,
    WorkflowPage,
    WorkflowsQuery,
    workflow_json_parts,
)


@post(
    "/api/workflows",
    **operation(
        "createWorkflow",
        "workflows",
        (400, 413, 422, 429),
        response_description="The workflow",
        request_max_body_size=MAX_WORKFLOW_BYTES,
        response_headers=[header("Location", "The address of the workflow.")],
    ),
)
async def create_workflow(
    request: HubRequest, use_cases: Cases, data: JSONBody[CreateWorkflowRequest]
) -> JsonResponse[Workflow]:
    """Create a workflow with its first draft."""
    # The largest definition, or the most files, take a quarter of a second.
    command = await REQUESTS.run(data.command)
    workflow = await use_cases.workflows.create(request.user, command)
    return JsonResponse(Workflow.of(workflow), headers={"Location": workflow_url(workflow.id)})


@get(
    "/api/workflows",
    **operation(
        "listWorkflows",
        "workflows",
        (400, 429),
        response_description="A page of workflows",
        dependencies=query_dependency(WorkflowsQuery),
        response_headers=[LINK],
    ),
)
async def list_workflows(
    request: HubRequest, use_cases: Cases, params: NamedDependency[WorkflowsQuery]
) -> JsonResponse[WorkflowPage]:
    """The caller's workflows without files, newest first."""

    async def read(reservation: Reservation) -> JsonText:
        page = await use_cases.workflows.list(
            request.user, limit=params.size, token=params.cursor, reservation=reservation
        )
        return list_text(request, WorkflowPage.of(page))

    return LargeAnswer(request, use_cases, read)


@get(
    "/api/workflows/{workflow_id:str}",
    **operation("getWorkflow", "workflows", (404, 429), response_description="The workflow"),
)
async def get_workflow(
    request: HubRequest, use_cases: Cases, workflow_id: FromPath[UUID]
) -> JsonResponse[Workflow]:
    """A workflow with the files of its current draft."""

    async def read(reservation: Reservation) -> JsonText:
        workflow, files = await use_cases.workflows.get(request.user, workflow_id, reservation)
        texts = await REQUESTS.run_unless_small(sizes_of(files), text_paths, files)
        return JsonText(workflow_json_parts(workflow, files, texts))

    return LargeAnswer(request, use_cases, read)


@patch(
    "/api/workflows/{workflow_id:str}",
    **operation(
        "updateWorkflow",
        "workflows",
        (400, 404, 413),
        response_description="The workflow, without its definition and files",
        request_max_body_size=MAX_BODY_BYTES,
    ),
)
async def update_workflow(
    request: HubRequest,
    use_cases: Cases,
    workflow_id: FromPath[UUID],
    data: JSONBody[UpdateWorkflowRequest],
) -> JsonResponse[Workflow]:
    """Lock or archive a workflow, or undo that: it is then not refined, and its draft is not changed."""
    workflow = await use_cases.workflows.update(request.user, workflow_id, data.command())
    return JsonResponse(Workflow.of(workflow))


WORKFLOW_ROUTES = [create_workflow, list_workflows, get_workflow, update_workflow]
