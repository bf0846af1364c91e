"""Refinements: start, read, cancel, answer, follow."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, HeaderParameter, JSONBody

from server.domain.fair_budget import Reservation
from server.domain.idempotent_start import Started
from server.http.dependencies import Cases, query_dependency
from server.http.eventstream import EventStream, wants_event_stream
from server.http.json_io import MAX_BODY_BYTES, MAX_WORKFLOW_BYTES, HubRequest, JsonResponse
from server.http.large_answers import JsonText, LargeAnswer
from server.http.openapi import EVENT_STREAM, header, operation
from server.http.preconditions import REPLAYED, KeyHeader, headers_of_replay, request_key
from server.wire.addresses import proposal_url
from server.wire.event_queries import EventsQuery, parse_cursor
from server.wire.refinements import (
    CreateTicketRequest,
    Refinement,
    StartedRefinement,
    StartRefinementRequest,
    Ticket,
)
from server.wire.rendering import EventPage, events_page_json
from server.wire.replies import ReplyToInputRequest
from server.wire.server_sent_events import ServerSentEvents
from server.wire.validation import MAX_SEQ, uuid_or_not_found


@post(
    "/api/workflows/{workflow_id:str}/refinements",
    **operation(
        "startRefinement",
        "refinements",
        (400, 404, 409, 413, 422, 429, 502),
        response_description="Started, by this request or by an earlier one with the same key",
        status_code=202,
        request_max_body_size=MAX_BODY_BYTES,
        response_headers=[
            header("Location", "The address of the proposal."),
            REPLAYED,
        ],
    ),
)
async def start_refinement(
    request: HubRequest,
    use_cases: Cases,
    workflow_id: FromPath[UUID],
    data: JSONBody[StartRefinementRequest],
    key: KeyHeader = None,
) -> JsonResponse[StartedRefinement]:
    """Start a refinement of the workflow's files; answered once the runtime accepted it."""
    command = data.command(workflow_id)
    started = await use_cases.refinements.start(request.user, command, key=request_key(request))
    return started_answer(started)


def started_answer(started: Started) -> JsonResponse[StartedRefinement]:
    """The answer about a refinement that was started."""
    headers = {"Location": proposal_url(started.refinement.proposal_id)} | headers_of_replay(started.replayed)
    return JsonResponse(StartedRefinement.of(started.refinement), headers=headers)


@get(
    "/api/refinements/{thread_id:str}",
    **operation("getRefinement", "refinements", (404,), response_description="The refinement"),
)
async def get_refinement(request: HubRequest, use_cases: Cases, thread_id: FromPath[UUID]) -> Refinement:
    """The state of a refinement."""
    return Refinement.of(await use_cases.refinements.get(request.user, thread_id))


@post(
    "/api/refinements/{thread_id:str}/cancel",
    **operation(
        "cancelRefinement",
        "refinements",
        (403, 404, 413),
        response_description="The run is over",
        status_code=200,
        request_max_body_size=MAX_BODY_BYTES,
        responses={
            202: ResponseSpec(Refinement, description="The run will end soon", generate_examples=False)
        },
    ),
)
async def cancel_refinement(
    request: HubRequest, use_cases: Cases, thread_id: FromPath[UUID]
) -> JsonResponse[Refinement]:
    """Cancel a run. 200 when it is over, 202 when another replica will end it."""
    refinement = await use_cases.refinements.cancel(request.user, thread_id)
    status = 200 if refinement.status.terminal else 202
    return JsonResponse(Refinement.of(refinement), status_code=status)


@post(
    "/api/refinements/{thread_id:str}/reply",
    **operation(
        "replyToInput",
        "refinements",
        (400, 403, 404, 409, 413, 422),
        response_description="The reply is stored, by this request or by an earlier one with the same key",
        status_code=202,
        request_max_body_size=MAX_WORKFLOW_BYTES,
        response_headers=[REPLAYED],
    ),
)
async def reply_to_input(
    request: HubRequest,
    use_cases: Cases,
    thread_id: FromPath[UUID],
    data: JSONBody[ReplyToInputRequest],
    key: KeyHeader = None,
) -> JsonResponse[Refinement]:
    """Answer a question of the agent, once. The run then continues with the next events of the thread."""
    replied = await use_cases.input_replies.reply(
        request.user, thread_id, data.seq, data.decisions, key=request_key(request)
    )
    return JsonResponse(Refinement.of(replied.refinement), headers=headers_of_replay(replied.replayed))


@post(
    "/api/ws/tickets",
    **operation(
        "createTicket",
        "refinements",
        (400, 404, 413, 429),
        response_description="The ticket",
        request_max_body_size=MAX_BODY_BYTES,
    ),
)
async def create_ticket(request: HubRequest, use_cases: Cases, data: JSONBody[CreateTicketRequest]) -> Ticket:
    """Create a ticket that opens one WebSocket or event stream of one refinement, once, within 30 seconds."""
    thread_id = uuid_or_not_found(data.thread_id, "refinement")
    return Ticket.of(await use_cases.tickets.issue(request.user, thread_id))


@get(
    "/api/refinements/{thread_id:str}/events",
    **operation(
        "listEvents",
        "refinements",
        (400, 404, 410, 429),
        dependencies=query_dependency(EventsQuery),
        opt={EVENT_STREAM: True},
        responses={
            200: ResponseSpec(
                EventPage,
                description="A page, or with `Accept: text/event-stream` every event until the last",
                generate_examples=False,
            ),
            204: ResponseSpec(None, description="No event follows `Last-Event-ID`: do not reconnect"),
        },
    ),
)
async def list_events(
    request: HubRequest,
    use_cases: Cases,
    thread_id: FromPath[UUID],
    params: NamedDependency[EventsQuery],
    last_event_id: Annotated[
        str | None,
        HeaderParameter(
            name="Last-Event-ID",
            description="Like `after`, for text/event-stream; the larger one counts.",
            schema_extra={"type": "integer", "minimum": 0, "maximum": MAX_SEQ},
        ),
    ] = None,
) -> Response[Any]:
    """The events after a cursor: a page, which may wait for the first event, or, for clients that prefer
    text/event-stream, all events until the last."""
    if wants_event_stream(request.headers):
        after = max(params.after, parse_cursor(last_event_id or None, "Last-Event-ID"))
        return EventStream(
            lambda reservation: use_cases.refinements.follow(request.user, thread_id, after, reservation),
            Reservation(use_cases.outgoing, request.user.memory_id),
            # An EventSource that has no event yet must show that it had a connection.
            form=ServerSentEvents(params.named, hello_has_id="ticket" in request.query_params),
            readers=use_cases.readers,
            resumed=bool(last_event_id),
        )

    async def read(reservation: Reservation) -> JsonText:
        page = await use_cases.refinements.page(
            request.user,
            thread_id,
            after=params.after,
            limit=params.size,
            wait_s=params.wait,
            reservation=reservation,
        )
        return JsonText(await events_page_json(page))

    return LargeAnswer(request, use_cases, read, waits=params.wait > 0)


REFINEMENT_ROUTES = [
    start_refinement,
    get_refinement,
    cancel_refinement,
    reply_to_input,
    create_ticket,
    list_events,
]
