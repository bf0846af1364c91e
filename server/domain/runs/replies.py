"""Replies: a person's answers to an agent's questions (ADR 0044).

A question is named by the seq of its event. Its reply is stored once, and is given to the runtime by the
owner of the run, which may be another replica.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from server.domain.errors import InvalidArgument, Unprocessable
from server.domain.journal.events import InputAction, InputRequested
from server.domain.model import IdempotencyKey, Principal

#: The decision by which the tool is not called.
REJECT = "reject"
#: The decisions that are allowed if an action does not list its own.
USUAL_DECISIONS = ("approve", "edit", REJECT)
#: Decisions by which the tool is called: nobody would read a message.
CALLING_DECISIONS = ("approve", "edit")
#: Levels of edited arguments: more than any tool has, and few enough to be written as JSON again.
_MAX_DEPTH = 100


@dataclass(frozen=True, slots=True)
class ActionDecision:
    """A decision about an action of a question, in the runtime's words.

    edited_arguments: with `edit`, the JSON text of the arguments to use instead. message: for the agent.
    """

    decision: str
    edited_arguments: str = field(default="", repr=False)
    message: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to a question.

    id: the same however often the runtime is given it. seq: the question's. input_id: the runtime's id of the
    question. decisions: without what belongs to them, as the journal has them. value: what the runtime
    continues with, as LangGraph's `Command(resume=…)` takes it.
    """

    id: UUID
    seq: int
    input_id: str
    user_id: UUID
    decisions: tuple[str, ...]
    value: Mapping[str, Any] = field(repr=False)


class ReplyStore(Protocol):
    """Stores replies until the runtime has them."""

    async def add(
        self, principal: Principal, thread_id: UUID, reply: Reply, key: IdempotencyKey | None
    ) -> bool:
        """Store the reply to a question of a run that has not ended, and show the run as processing. Returns
        False, and stores nothing, for a request that was carried out before.

        Raises InputClosed when the question has a reply, another one took its place, or the run has ended;
        KeyReused for another request with the key; DatabaseUnavailable.
        """
        ...

    async def closed_seq(self, thread_id: UUID) -> int:
        """The seq of the last question that can no longer be answered, with all before it; 0 for none.
        Raises DatabaseUnavailable."""
        ...

    async def is_open(self, thread_id: UUID, seq: int) -> bool:
        """Whether a reply to the question would be stored now. Raises DatabaseUnavailable."""
        ...


def value_of(question: InputRequested, decisions: Sequence[ActionDecision]) -> Mapping[str, Any]:
    """The value that the runtime continues with after these decisions, in the form of LangChain's
    human-in-the-loop middleware.

    Raises InvalidArgument for decisions that the question does not allow, Unprocessable for a question
    without actions.
    """
    if not question.actions:
        raise Unprocessable({"seq": "is a question without actions, which cannot be decided on"})
    if len(decisions) != len(question.actions):
        count = len(question.actions)
        raise InvalidArgument(
            {"decisions": f"must be one for each action of the question, which has {count}"}
        )
    pairs = enumerate(zip(question.actions, decisions, strict=True))
    return {"decisions": [_decided(index, action, decision) for index, (action, decision) in pairs]}


def _decided(index: int, action: InputAction, decision: ActionDecision) -> dict[str, Any]:
    word, allowed = decision.decision, action.allowed_decisions or USUAL_DECISIONS
    if word not in allowed:
        raise _wrong(index, f"must be one of {', '.join(allowed)}")
    if bool(decision.edited_arguments) != (word == "edit"):
        raise _wrong(index, "has edited_arguments if it is edit, and only then")
    if decision.message and word in CALLING_DECISIONS:
        raise _wrong(index, f"has no message if it is {word}: the agent would not see it")
    decided: dict[str, Any] = {"type": word}
    if word == "edit":
        decided["edited_action"] = {
            "name": action.name,
            "args": _arguments(index, decision.edited_arguments),
        }
    if decision.message:
        decided["message"] = decision.message
    return decided


def _arguments(index: int, text: str) -> dict[str, Any]:
    try:
        arguments = json.loads(text)
        # JSON has no NaN, and no infinite number.
        json.dumps(arguments, allow_nan=False)
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise _wrong(index, "edited_arguments must be the JSON text of an object")
    if _depth(arguments) > _MAX_DEPTH:
        raise _wrong(index, f"edited_arguments must have at most {_MAX_DEPTH} levels")
    return arguments


def _depth(value: Any) -> int:
    """How many levels a JSON value has."""
    depth, level = 0, [value]
    while level:
        depth += 1
        inner = (each.values() if isinstance(each, dict) else each for each in level)
        level = [each for items in inner for each in items if isinstance(each, dict | list)]
    return depth


def _wrong(index: int, text: str) -> InvalidArgument:
    return InvalidArgument({"decisions": f"decision {index}: {text}"})
