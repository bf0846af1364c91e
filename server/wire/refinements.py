"""Refinements on the wire: requests, the contract's message, the JSON of the HTTP interface."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

import msgspec
from pydantic import AfterValidator, Field

from server.domain import model
from server.domain.access import tickets
from server.domain.drafts.busy import WhenBusy
from server.domain.errors import Unprocessable
from server.domain.journal.journal import JournalHead
from server.domain.model import ProposalStatus
from server.wire import messages as m
from server.wire.addresses import events_url, websocket_url
from server.wire.limits import limits_of
from server.wire.proposals import STATUS_NUMBERS, Failure, failure_message
from server.wire.text import model_of, set_time
from server.wire.validation import (
    MAX_PATH,
    NOT_BLANK,
    NOT_BLANK_PATTERN,
    STORABLE,
    STORABLE_PATTERN,
    RequestModel,
    field_error,
    uuid_or_not_found,
)

MAX_PROMPT = limits_of(m.StartRefinementRequest, "user_prompt").max_characters
MAX_SELECTION = limits_of(m.StartRefinementRequest, "context_selection").max_characters
MAX_ID = 36

_SELECTION = re.compile(r"line (?P<only>[0-9]+)|lines (?P<first>[0-9]+)-(?P<last>[0-9]+)")
_SELECTION_PATTERN = "^(line [1-9][0-9]*|lines [1-9][0-9]*-[1-9][0-9]*)?$"
_UUID_PATTERN = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"


WHEN_BUSY_NUMBERS = {each: m.WhenBusy.Value(f"WHEN_BUSY_{each.name}") for each in WhenBusy}
#: What a message's number asks for; None for the default.
WHEN_BUSY_BY_NUMBER: dict[int, WhenBusy | None] = {
    m.WHEN_BUSY_UNSPECIFIED: None,
    **{int(number): each for each, number in WHEN_BUSY_NUMBERS.items()},
}


# --- Requests --------------------------------------------------------------------------------


def _check_selection(text: str) -> str:
    if text and not _SELECTION.fullmatch(text):
        raise field_error("must be `lines A-B` or `line A`")
    return text


#: The field of requests that start a run.
WhenBusyField = Annotated[
    WhenBusy | None,
    Field(
        strict=False,
        description="What to do if another refinement of the draft has not ended: start alongside it, refuse "
        "with 409, wait until it has ended, or cancel it. Default: the server's, which is `parallel` unless "
        "the operator chooses another.",
    ),
]


class StartRefinementRequest(RequestModel):
    """A refinement to start."""

    user_prompt: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_PROMPT,
            description="What the user asks for.",
            json_schema_extra=NOT_BLANK_PATTERN,
        ),
        NOT_BLANK,
        STORABLE,
    ]
    context_file_path: Annotated[
        Annotated[str, Field(max_length=MAX_PATH, json_schema_extra=STORABLE_PATTERN), STORABLE] | None,
        Field(description="The file that the user looks at."),
    ] = None
    context_selection: Annotated[
        Annotated[
            str,
            Field(max_length=MAX_SELECTION, json_schema_extra={"pattern": _SELECTION_PATTERN}),
            STORABLE,
            AfterValidator(_check_selection),
        ]
        | None,
        Field(description="The lines selected in it: `lines 10-25` or `line 7`."),
    ] = None
    when_busy: WhenBusyField = None

    def command(self, workflow_id: UUID) -> model.StartRefinement:
        """The command. Raises Unprocessable for a selection such as `lines 25-10`."""
        match = _SELECTION.fullmatch(self.context_selection or "")
        if match is not None:
            first = int(match["only"] or match["first"])
            if not 1 <= first <= int(match["last"] or first):
                wrong = "is not a range: lines count from 1, and the first must not be after the last"
                raise Unprocessable({"context_selection": wrong})
        return model.StartRefinement(
            workflow_id,
            self.user_prompt,
            self.context_file_path or None,
            self.context_selection or None,
            self.when_busy,
        )


class CreateTicketRequest(RequestModel):
    """A ticket to create."""

    thread_id: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_ID,
            description="The refinement to follow.",
            json_schema_extra={"pattern": _UUID_PATTERN},
        ),
        NOT_BLANK,
        STORABLE,
    ]


def start_refinement(request: m.StartRefinementRequest) -> model.StartRefinement:
    """The command of a message. Raises NotFound, InvalidArgument, Unprocessable."""
    workflow_id = uuid_or_not_found(request.workflow_id, "workflow")
    names = ("user_prompt", "context_file_path", "context_selection")
    values = {name: getattr(request, name) for name in names}
    values["when_busy"] = WHEN_BUSY_BY_NUMBER.get(request.when_busy, "unknown")
    return StartRefinementRequest.model_validate(values).command(workflow_id)


# --- Messages --------------------------------------------------------------------------------


def hello_message(head: JournalHead) -> m.Hello:
    """Where a journal ends: the first message of a stream, and part of a page of events."""
    return m.Hello(epoch=head.epoch, last_seq=head.last_seq, floor=head.floor, recovered=True)


def refinement_message(refinement: model.Refinement) -> m.Refinement:
    """A refinement (contract: Refinement)."""
    message = m.Refinement(
        thread_id=str(refinement.thread_id),
        proposal_id=str(refinement.proposal_id),
        workflow_id=str(refinement.workflow_id),
        status=STATUS_NUMBERS[refinement.status],
        epoch=refinement.epoch,
        last_seq=refinement.last_seq,
        floor=refinement.floor,
    )
    set_time(message.create_time, refinement.created_at)
    if refinement.completed_at is not None:
        set_time(message.complete_time, refinement.completed_at)
    if refinement.failure is not None:
        message.failure.CopyFrom(failure_message(refinement.failure))
    if refinement.waits_for_proposal_id is not None:
        message.waits_for_proposal_id = str(refinement.waits_for_proposal_id)
    return message


# --- JSON ------------------------------------------------------------------------------------


class StartedRefinement(msgspec.Struct):
    """A refinement that was started, or queued."""

    proposal_id: UUID
    thread_id: UUID
    status: Literal["processing", "queued"]
    websocket_url: str
    created_at: datetime

    @classmethod
    def of(cls, refinement: model.Refinement) -> Self:
        """The JSON of a record."""
        return model_of(cls, refinement, websocket_url=websocket_url(refinement.thread_id))


class Refinement(msgspec.Struct):
    """A request and the run that carries it out. While it is queued, it waits for the run of
    `waits_for_proposal_id`."""

    thread_id: UUID
    proposal_id: UUID
    workflow_id: UUID
    status: ProposalStatus
    epoch: int
    last_seq: int
    floor: int
    created_at: datetime
    completed_at: datetime | None
    failure: Failure | None
    waits_for_proposal_id: UUID | None
    websocket_url: str
    events_url: str

    @classmethod
    def of(cls, refinement: model.Refinement) -> Self:
        """The JSON of a record."""
        return model_of(
            cls,
            refinement,
            failure=Failure.of(refinement.failure),
            websocket_url=websocket_url(refinement.thread_id),
            events_url=events_url(refinement.thread_id),
        )


class Ticket(msgspec.Struct):
    """Opens one stream of this thread, once, until `expires_at`. The two addresses hold the ticket."""

    ticket: str
    thread_id: UUID
    expires_at: datetime
    websocket_url: str
    events_url: str

    @classmethod
    def of(cls, ticket: tickets.Ticket) -> Self:
        """The JSON of a record."""
        return model_of(
            cls,
            ticket,
            websocket_url=f"{websocket_url(ticket.thread_id)}?ticket={ticket.ticket}",
            events_url=f"{events_url(ticket.thread_id)}?ticket={ticket.ticket}",
        )
