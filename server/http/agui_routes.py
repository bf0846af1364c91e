"""AG-UI: a refinement as a run of that protocol, for its own clients."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from litestar import Response, post
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, HeaderParameter, JSONBody

from server.domain.access.on_behalf_of import on_behalf_of
from server.domain.errors import (
    Conflict,
    CursorOutOfRange,
    HubError,
    InvalidArgument,
    NotFound,
    Unprocessable,
)
from server.domain.fair_budget import Reservation
from server.domain.idempotent_start import key_for
from server.domain.model import Principal, ProposalStatus, Refinement
from server.domain.server_info import Feature
from server.domain.streams.subscription import Subscription
from server.http.dependencies import Cases
from server.http.eventstream import EventStream
from server.http.json_io import MAX_WORKFLOW_BYTES, HubRequest
from server.http.openapi import operation
from server.use_cases import UseCases
from server.wire.agui import AgUiRun, Place, place_of, short_run
from server.wire.agui_input import RunAgentInput
from server.wire.agui_resume import ResumeEntry, resume_of
from server.wire.validation import uuid_or_not_found


@post(
    "/api/workflows/{workflow_id:str}/agui",
    **operation(
        "runAgent",
        "refinements",
        (400, 403, 404, 409, 410, 413, 422, 429, 502),
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
    """Start a refinement, attach to one, or answer its agent, and follow it as a run of AG-UI 1.0."""
    place, user, closed_seq = place_of(last_event_id), request.user, 0
    try:
        if data.resume:
            thread_id, after = await _resumed(use_cases, user, workflow_id, data.resume, place)
            place = max(place, after)
        else:
            thread_id, closed_seq = await _started_or_attached(use_cases, user, workflow_id, data, place)
    except _Over as over:
        return Response(short_run(data.threadId, data.runId, over.error), media_type="text/event-stream")
    return EventStream(
        lambda reservation: _follow(use_cases, user, thread_id, place, reservation),
        Reservation(use_cases.outgoing, user.memory_id),
        form=AgUiRun(
            data.threadId,
            data.runId,
            place,
            refinement_id=thread_id,
            can_resume=Feature.INPUT_REPLIES in use_cases.server_info.features,
            closed_seq=closed_seq,
            turn=partial(use_cases.agui_turns.take, on_behalf_of.get()),
        ),
        readers=use_cases.readers,
    )


class _Over(Exception):
    """A run that answers interrupts ends at once. error: why the answers are refused; None if there is
    nothing to go on with."""

    def __init__(self, error: HubError | None = None) -> None:
        super().__init__()
        self.error = error


async def _resumed(
    use_cases: UseCases,
    principal: Principal,
    workflow_id: UUID,
    entries: Sequence[ResumeEntry],
    place: Place,
) -> tuple[UUID, Place]:
    """The refinement that goes on with these answers, and where. Raises _Over, CursorOutOfRange."""
    replies = use_cases.input_replies
    try:
        resume = resume_of(entries)
        refinement = await use_cases.refinements.get(principal, resume.thread_id)
        if refinement.workflow_id != workflow_id:
            raise NotFound("no such interrupt")
        if place.seq > refinement.last_seq:
            raise CursorOutOfRange(place.seq, refinement.floor, refinement.last_seq)
        decisions = resume.decisions(await replies.question(principal, resume.thread_id, resume.seq))
        key = resume.key(decisions)
        if resume.cancelled:
            declined = await replies.decline(principal, resume.thread_id, resume.seq, key=key)
            refinement = await use_cases.refinements.get(principal, resume.thread_id)
            if not declined and refinement.status is ProposalStatus.FAILED:
                # After an error the client would keep the interrupts, which nobody can answer any more.
                raise _Over
        else:
            await replies.reply(principal, resume.thread_id, resume.seq, decisions, key=key)
    except (Conflict, InvalidArgument, NotFound, Unprocessable) as error:
        # What the protocol has for answers that do not fit: clients keep the interrupts open.
        raise _Over(error) from None
    return resume.thread_id, Place(resume.seq)


async def _started_or_attached(
    use_cases: UseCases, principal: Principal, workflow_id: UUID, data: RunAgentInput, place: Place
) -> tuple[UUID, int]:
    """The refinement to follow. Of one that the client attaches to also up to which seq its questions are
    closed. Raises CursorOutOfRange."""
    attached = await _attached(use_cases, principal, workflow_id, data.threadId)
    if attached is not None:
        return attached.thread_id, await use_cases.input_replies.closed_seq(attached)
    command, refinements = data.command(workflow_id), use_cases.refinements
    if place == Place():
        started = await refinements.start(principal, command, key=data.key)
        return started.refinement.thread_id, 0
    # Who has an event has it of a run that was started: nothing new is started for it.
    earlier = await refinements.repeated(principal, workflow_id, key_for(command, data.key))
    if earlier is None:
        raise CursorOutOfRange(place.seq, floor=1, last_seq=0)
    return earlier.refinement.thread_id, 0


async def _attached(
    use_cases: UseCases, principal: Principal, workflow_id: UUID, thread_id: str
) -> Refinement | None:
    """The refinement of the workflow that a client's thread is; None if it is none."""
    try:
        refinement = await use_cases.refinements.get(principal, uuid_or_not_found(thread_id, "refinement"))
    except NotFound:
        return None
    return refinement if refinement.workflow_id == workflow_id else None


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
