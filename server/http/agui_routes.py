"""AG-UI: a refinement as a run of that protocol, for its own clients."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from litestar import Response, post
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, HeaderParameter, JSONBody

from server.domain.errors import CursorOutOfRange, NotFound
from server.domain.model import Principal
from server.domain.outgoing import Reservation
from server.domain.streams.subscription import Subscription
from server.http.dependencies import Cases
from server.http.eventstream import EventStream
from server.http.json_io import MAX_WORKFLOW_BYTES, HubRequest
from server.http.openapi import operation
from server.use_cases import UseCases
from server.wire.agui import AgUiRun, Place, place_of
from server.wire.agui_input import RunAgentInput
from server.wire.validation import uuid_or_not_found


@post(
    "/api/workflows/{workflow_id:str}/agui",
    **operation(
        "runAgent",
        "refinements",
        (400, 404, 409, 410, 413, 422, 429, 502),
        status_code=200,
        # Its client sends the whole state with each run.
        request_max_body_size=MAX_WORKFLOW_BYTES,
        responses={
            200: ResponseSpec(
                bytes,
                description="The events of the run, until it ends or asks a person",
                media_type="text/event-stream",
                generate_examples=False,
            )
        },
    ),
)
async def run_agent(
    request: HubRequest,
    use_cases: Cases,
    workflow_id: FromPath[UUID],
    data: JSONBody[RunAgentInput],
    last_event_id: Annotated[
        str | None,
        HeaderParameter(
            name="Last-Event-ID",
            description="The id of the last event that the caller has: those after it follow.",
            schema_extra={"pattern": "^[0-9]{1,10}(\\.[0-9]{1,10})?$"},
        ),
    ] = None,
) -> Response[Any]:
    """Start a refinement, or attach to one, and follow it as a run of AG-UI 1.0."""
    data.check_resume()
    place = place_of(last_event_id)
    thread_id = await _attached(use_cases, request.user, workflow_id, data.threadId)
    if thread_id is None:
        started = await use_cases.refinements.start(request.user, data.command(workflow_id), key=data.key)
        thread_id = started.refinement.thread_id
    return EventStream(
        lambda reservation: _follow(use_cases, request.user, thread_id, place, reservation),
        Reservation(use_cases.outgoing, request.user.memory_id),
        form=AgUiRun(data.threadId, data.runId, place),
        readers=use_cases.readers,
    )


async def _attached(
    use_cases: UseCases, principal: Principal, workflow_id: UUID, thread_id: str
) -> UUID | None:
    """The refinement of the workflow that a client's thread is; None if it is none."""
    try:
        refinement = await use_cases.refinements.get(principal, uuid_or_not_found(thread_id, "refinement"))
    except NotFound:
        return None
    return refinement.thread_id if refinement.workflow_id == workflow_id else None


async def _follow(
    use_cases: UseCases, principal: Principal, thread_id: UUID, place: Place, reservation: Reservation
) -> Subscription:
    """A reader from the first event on: what the reader has decides what follows it."""
    subscription = await use_cases.refinements.follow(principal, thread_id, 0, reservation)
    head = subscription.topic.head
    if place.seq > head.last_seq:
        subscription.close()
        raise CursorOutOfRange(place.seq, head.floor, head.last_seq)
    return subscription


AGUI_ROUTES = [run_agent]
