"""The routes: from a request to a use case, and from its result to JSON."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from litestar import Request, Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import PathParameter, SkipValidation

from server.domain.model import Page, Principal
from server.http import described
from server.http.bodies import MAX_BODY_BYTES, MAX_WORKFLOW_BYTES, bytes_response, json_body, json_response
from server.http.described import operation
from server.http.eventstream import EventStream
from server.http.refusals import not_ready
from server.http.services import HttpServices
from server.wire import requests, resources
from server.wire.fields import uuid_or_not_found
from server.wire.rendering import events_page_json

Services = NamedDependency[SkipValidation[HttpServices]]
AnyRequest = Request[Any, Any, Any]
_Id = Annotated[str, PathParameter(schema_extra={"format": "uuid"})]

_SSE = "text/event-stream"


async def _caller(request: AnyRequest, services: HttpServices) -> Principal:
    return await services.authenticator.authenticate_header(request.headers.get("authorization"))


async def _reader(request: AnyRequest, services: HttpServices) -> Principal:
    """The caller, who may be a share link: for routes that only read one proposal or its refinement."""
    return await services.authenticator.authenticate_header(request.headers.get("authorization"), reads=True)


def _query(request: AnyRequest) -> dict[str, str]:
    return dict(request.query_params)


def _list_response(request: AnyRequest, page: Page, json: dict[str, Any]) -> Response[bytes]:
    headers = {}
    if page.next_token is not None:
        query = urlencode({**_query(request), "cursor": page.next_token})
        headers["Link"] = f'<{request.url.path}?{query}>; rel="next"'
    return json_response(json, headers=headers)


# --- Workflows -------------------------------------------------------------------------------


@post("/api/workflows", request_max_body_size=MAX_WORKFLOW_BYTES, **operation(described.CREATE_WORKFLOW))
async def create_workflow(request: AnyRequest, services: Services) -> Response[bytes]:
    """Make a workflow with its first draft."""
    caller = await _caller(request, services)
    command = requests.create_workflow(await json_body(request))
    workflow = await services.workflows.create(caller, command)
    location = {"Location": f"/api/workflows/{workflow.id}"}
    return json_response(resources.workflow_json(workflow), status=201, headers=location)


@get("/api/workflows", **operation(described.LIST_WORKFLOWS))
async def list_workflows(request: AnyRequest, services: Services) -> Response[bytes]:
    """The caller's workflows without files, newest first."""
    caller = await _caller(request, services)
    wanted = requests.page_query(_query(request))
    page = await services.workflows.list(caller, limit=wanted.limit, token=wanted.token)
    return _list_response(request, page, resources.workflows_json(page))


@get("/api/workflows/{workflow_id:str}", **operation(described.GET_WORKFLOW))
async def get_workflow(request: AnyRequest, services: Services, workflow_id: _Id) -> Response[bytes]:
    """A workflow with the files of its current draft."""
    caller = await _caller(request, services)
    wanted = uuid_or_not_found(workflow_id, "workflow")
    return json_response(resources.workflow_json(await services.workflows.get(caller, wanted)))


@post(
    "/api/workflows/{workflow_id:str}/refinements",
    request_max_body_size=MAX_BODY_BYTES,
    **operation(described.START_REFINEMENT),
)
async def start_refinement(request: AnyRequest, services: Services, workflow_id: _Id) -> Response[bytes]:
    """Start a refinement of the workflow's files; answered once the runtime took it."""
    caller = await _caller(request, services)
    wanted = uuid_or_not_found(workflow_id, "workflow")
    command = requests.start_refinement(wanted, await json_body(request))
    keys = request.headers.getall("idempotency-key", [])
    # Two lines of a header are one list, so no key.
    key = requests.idempotency_key(", ".join(keys) if keys else None, "Idempotency-Key")
    started = await services.refinements.start(caller, command, key=key)
    headers = {"Location": resources.proposal_url(started.refinement.proposal_id)}
    if started.replayed:
        headers["Idempotency-Replayed"] = "true"
    return json_response(resources.started_json(started.refinement), status=202, headers=headers)


# --- Proposals -------------------------------------------------------------------------------


@get("/api/proposals", **operation(described.LIST_PROPOSALS))
async def list_proposals(request: AnyRequest, services: Services) -> Response[bytes]:
    """The proposals that the caller may see, without files, newest first."""
    caller = await _reader(request, services)
    wanted = requests.proposals_query(_query(request))
    page = await services.proposals.list(
        caller,
        limit=wanted.page.limit,
        token=wanted.page.token,
        workflow_id=wanted.workflow_id,
        status=wanted.status,
    )
    return _list_response(request, page, resources.proposals_json(page))


@get("/api/proposals/{proposal_id:str}", **operation(described.GET_PROPOSAL))
async def get_proposal(request: AnyRequest, services: Services, proposal_id: _Id) -> Response[bytes]:
    """A proposal, with its files once the run is over."""
    caller = await _reader(request, services)
    wanted = uuid_or_not_found(proposal_id, "proposal")
    return json_response(resources.proposal_json(await services.proposals.get(caller, wanted)))


# --- Access ----------------------------------------------------------------------------------


@get("/api/proposals/{proposal_id:str}/access", **operation(described.LIST_GRANTS))
async def list_grants(request: AnyRequest, services: Services, proposal_id: _Id) -> Response[bytes]:
    """Who has access to a proposal; for its owners."""
    caller = await _caller(request, services)
    wanted = uuid_or_not_found(proposal_id, "proposal")
    return json_response(resources.grants_json(await services.access.grants(caller, wanted)))


@put(
    "/api/proposals/{proposal_id:str}/access/{user_id:str}",
    request_max_body_size=MAX_BODY_BYTES,
    **operation(described.GRANT_ACCESS),
)
async def grant_access(
    request: AnyRequest, services: Services, proposal_id: _Id, user_id: _Id
) -> Response[bytes]:
    """Give a user access to a proposal, or other access than before; for its owners."""
    caller = await _caller(request, services)
    wanted, user = uuid_or_not_found(proposal_id, "proposal"), uuid_or_not_found(user_id, "user")
    access_type = requests.access_type(await json_body(request))
    return json_response(resources.grant_json(await services.access.grant(caller, wanted, user, access_type)))


@delete("/api/proposals/{proposal_id:str}/access/{user_id:str}", **operation(described.REVOKE_ACCESS))
async def revoke_access(request: AnyRequest, services: Services, proposal_id: _Id, user_id: _Id) -> None:
    """Take a user's access to a proposal away; for its owners, and for oneself."""
    caller = await _caller(request, services)
    wanted, user = uuid_or_not_found(proposal_id, "proposal"), uuid_or_not_found(user_id, "user")
    await services.access.revoke(caller, wanted, user)


@get("/api/proposals/{proposal_id:str}/shares", **operation(described.LIST_SHARE_LINKS))
async def list_share_links(request: AnyRequest, services: Services, proposal_id: _Id) -> Response[bytes]:
    """The share links of a proposal that are good now, without their secrets; for its owners."""
    caller = await _caller(request, services)
    wanted = uuid_or_not_found(proposal_id, "proposal")
    return json_response(resources.share_links_json(await services.access.links(caller, wanted)))


@post(
    "/api/proposals/{proposal_id:str}/shares",
    request_max_body_size=MAX_BODY_BYTES,
    **operation(described.CREATE_SHARE_LINK),
)
async def create_share_link(request: AnyRequest, services: Services, proposal_id: _Id) -> Response[bytes]:
    """Make a link that shows a proposal to anyone who has it, without letting them act; for its owners."""
    caller = await _caller(request, services)
    wanted = uuid_or_not_found(proposal_id, "proposal")
    asked = requests.share_link(await json_body(request))
    link = await services.access.share(caller, wanted, after_seq=asked.after_seq, lifetime=asked.lifetime)
    return json_response(resources.share_link_json(link), status=201)


@delete("/api/proposals/{proposal_id:str}/shares/{link_id:str}", **operation(described.REVOKE_SHARE_LINK))
async def revoke_share_link(request: AnyRequest, services: Services, proposal_id: _Id, link_id: _Id) -> None:
    """Withdraw a share link; for the proposal's owners."""
    caller = await _caller(request, services)
    wanted, link = uuid_or_not_found(proposal_id, "proposal"), uuid_or_not_found(link_id, "link")
    await services.access.revoke_link(caller, wanted, link)


# --- Refinements -----------------------------------------------------------------------------


@get("/api/refinements/{thread_id:str}", **operation(described.GET_REFINEMENT))
async def get_refinement(request: AnyRequest, services: Services, thread_id: _Id) -> Response[bytes]:
    """Where a refinement stands."""
    caller = await _reader(request, services)
    wanted = uuid_or_not_found(thread_id, "refinement")
    return json_response(resources.refinement_json(await services.refinements.get(caller, wanted)))


@post(
    "/api/refinements/{thread_id:str}/cancel",
    request_max_body_size=MAX_BODY_BYTES,
    **operation(described.CANCEL_REFINEMENT),
)
async def cancel_refinement(request: AnyRequest, services: Services, thread_id: _Id) -> Response[bytes]:
    """Cancel a run. 200 when it is over, 202 when another replica is still to end it."""
    caller = await _caller(request, services)
    wanted = uuid_or_not_found(thread_id, "refinement")
    refinement = await services.refinements.cancel(caller, wanted)
    status = 200 if refinement.status.terminal else 202
    return json_response(resources.refinement_json(refinement), status=status)


@post("/api/ws/tickets", request_max_body_size=MAX_BODY_BYTES, **operation(described.CREATE_TICKET))
async def create_ticket(request: AnyRequest, services: Services) -> Response[bytes]:
    """Make a ticket that opens one WebSocket of one refinement, once, within 30 seconds."""
    caller = await _caller(request, services)
    thread_id = requests.ticket(await json_body(request))
    return json_response(resources.ticket_json(await services.tickets.issue(caller, thread_id)), status=201)


@get("/api/refinements/{thread_id:str}/events", **operation(described.LIST_EVENTS))
async def list_events(request: AnyRequest, services: Services, thread_id: _Id) -> Response[Any]:
    """A thread's events behind a cursor: a page that may wait for the first of them, or, for who
    prefers text/event-stream, all of them until the terminal one."""
    caller = await _reader(request, services)
    wanted = uuid_or_not_found(thread_id, "refinement")
    query = requests.events_query(_query(request))
    if request.accept.best_match(["application/json", _SSE]) == _SSE:
        last_id = request.headers.get("last-event-id")
        after = max(query.after, requests.cursor(last_id or None, "Last-Event-ID"))
        return EventStream(
            lambda: services.refinements.follow(caller, wanted, after),
            resumed=bool(last_id),
            readers=services.readers,
        )
    page = await services.refinements.page(
        caller, wanted, after=query.after, limit=query.limit, wait_s=query.wait_s
    )
    return bytes_response(events_page_json(page))


# --- Health ----------------------------------------------------------------------------------


@get("/healthz", **operation(described.HEALTH))
async def health() -> Response[bytes]:
    """Whether the process lives."""
    return json_response({"status": "ok"})


@get("/api/health", include_in_schema=False)
async def health_again() -> Response[bytes]:
    """The same, where the seed has it."""
    return json_response({"status": "ok"})


@get("/readyz", **operation(described.READY))
async def ready(services: Services) -> Response[bytes]:
    """Whether this replica can serve; 503 names the checks that fail."""
    failing = await services.ready()
    if failing:
        raise not_ready(failing)
    return json_response({"status": "ok", "failing": []})


@get("/metrics", include_in_schema=False)
async def metrics(services: Services) -> Response[bytes]:
    """The metrics, in Prometheus' text format."""
    exposition, media_type = services.metrics()
    return Response(exposition, media_type=media_type)


ROUTES = [
    metrics,
    create_workflow,
    list_workflows,
    get_workflow,
    start_refinement,
    list_proposals,
    get_proposal,
    list_grants,
    grant_access,
    revoke_access,
    list_share_links,
    create_share_link,
    revoke_share_link,
    get_refinement,
    cancel_refinement,
    create_ticket,
    list_events,
    health,
    health_again,
    ready,
]
