"""Replies to the questions of agents on the wire: requests."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PlainValidator

from server.domain.errors import InvalidArgument
from server.domain.runs.replies import ActionDecision
from server.wire import messages as m
from server.wire.limits import limits_of
from server.wire.refinements import MAX_PROMPT
from server.wire.validation import MAX_SEQ, WHOLE_NUMBER, RequestModel, field_error

#: More tool calls than an agent asks about at once.
MAX_ACTIONS = limits_of(m.ReplyToInputRequest, "decisions").max_items
MAX_DECISION = limits_of(m.ActionDecision, "decision").max_characters
MAX_ARGUMENTS = limits_of(m.ActionDecision, "edited_arguments").max_characters


class ReplyDecision(RequestModel):
    """A decision about an action of a question."""

    decision: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_DECISION,
            description="One of the action's `allowed_decisions`; "
            "`approve`, `edit` or `reject` if it has none.",
        ),
    ]
    edited_arguments: Annotated[
        str,
        Field(
            max_length=MAX_ARGUMENTS,
            description="With `edit`: the arguments to use instead, whole, as the JSON text of an object.",
        ),
    ] = ""
    message: Annotated[
        str,
        Field(max_length=MAX_PROMPT, description="A message to the agent, except with `approve` and `edit`."),
    ] = ""


def _validate_decisions(value: object) -> tuple[ActionDecision, ...]:
    if not isinstance(value, list | tuple):
        raise field_error("must be a list of decisions")
    if not 1 <= len(value) <= MAX_ACTIONS:
        raise field_error(f"must be 1 to {MAX_ACTIONS} decisions")
    return tuple(map(_decision, range(len(value)), value))


def _decision(index: int, value: object) -> ActionDecision:
    try:
        return ActionDecision(**dict(ReplyDecision.model_validate(value)))
    except InvalidArgument as error:
        raise field_error(f"decision {index}: {error.message}") from None


class ReplyToInputRequest(RequestModel):
    """A reply to a question of the agent."""

    seq: Annotated[
        int,
        Field(ge=1, le=MAX_SEQ, description="The seq of the `input_requested` event with the question."),
        WHOLE_NUMBER,
    ]
    decisions: Annotated[
        tuple[ActionDecision, ...],
        PlainValidator(_validate_decisions, json_schema_input_type=list[ReplyDecision]),
        Field(
            description="A decision about each action of the question, in their order.",
            json_schema_extra={"minItems": 1, "maxItems": MAX_ACTIONS},
        ),
    ]


def reply_to_input(request: m.ReplyToInputRequest) -> ReplyToInputRequest:
    """The request of a message. Raises InvalidArgument."""
    names = ("decision", "edited_arguments", "message")
    decisions = [{name: getattr(each, name) for name in names} for each in request.decisions]
    return ReplyToInputRequest.model_validate({"seq": request.seq, "decisions": decisions})
