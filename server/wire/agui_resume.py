"""The answers of an AG-UI client to the interrupts of a run, as the reply to a question of the agent."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, PlainValidator

from server.domain.errors import InvalidArgument, NotFound
from server.domain.journal.events import InputRequested
from server.domain.runs.replies import REJECT, ActionDecision
from server.wire.agui_interrupts import interrupt_id
from server.wire.refinements import MAX_PROMPT
from server.wire.replies import MAX_ACTIONS, MAX_ARGUMENTS, MAX_DECISION
from server.wire.validation import MAX_SEQ, RequestModel, field_error

MAX_INTERRUPT_ID = 64

_INTERRUPT_ID = re.compile(
    r"(?P<thread>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}):(?P<seq>[0-9]{1,10}):(?P<number>[0-9]{1,3})",
    re.ASCII,
)


class ResumeEntry(RequestModel):
    """An answer to an interrupt. Other members are accepted and not used."""

    model_config = ConfigDict(extra="ignore")

    interruptId: Annotated[str, Field(max_length=MAX_INTERRUPT_ID, description="The interrupt's `id`.")]
    status: Annotated[
        Literal["resolved", "cancelled"],
        Field(
            description="`cancelled`: nobody decides. The tool is not called; a question that cannot be "
            "answered so cancels the refinement."
        ),
    ]
    payload: Annotated[
        Any, Field(description="With `resolved`: what the interrupt's `responseSchema` describes.")
    ] = None


class _Payload(RequestModel):
    """A decision as an interrupt's schema describes it."""

    approved: bool | None = None
    editedArgs: dict[str, Any] | None = None
    message: Annotated[str, Field(max_length=MAX_PROMPT)] = ""
    decision: Annotated[str, Field(max_length=MAX_DECISION)] | None = None

    def action_decision(self) -> ActionDecision:
        """The decision about the action. Raises InvalidArgument."""
        word = self.decision
        if word is None:
            if self.approved is None:
                raise InvalidArgument({"approved": "is missing"})
            edited = self.editedArgs is not None
            word = "reject" if not self.approved else "edit" if edited else "approve"
        elif self.approved is not None:
            raise InvalidArgument({"decision": "must be given instead of approved, not in addition to it"})
        return ActionDecision(word, self._arguments(), self.message)

    def _arguments(self) -> str:
        try:
            arguments = "" if self.editedArgs is None else json.dumps(self.editedArgs)
        except RecursionError:
            raise InvalidArgument({"editedArgs": "has too many levels"}) from None
        if len(arguments) > MAX_ARGUMENTS:
            raise InvalidArgument({"editedArgs": f"must have at most {MAX_ARGUMENTS} characters"})
        return arguments


def _validate_entries(value: object) -> list[ResumeEntry]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise field_error("must be a list of answers to interrupts")
    if len(value) > MAX_ACTIONS:
        raise field_error(f"must be at most {MAX_ACTIONS} answers")
    return [_entry(index, each) for index, each in enumerate(value)]


def _entry(index: int, value: object) -> ResumeEntry:
    try:
        return ResumeEntry.model_validate(value)
    except InvalidArgument as error:
        raise field_error(f"answer {index}: {error.message}") from None


#: The member `resume` of a request.
ResumeEntries = Annotated[
    list[ResumeEntry],
    PlainValidator(_validate_entries, json_schema_input_type=list[ResumeEntry] | None),
    Field(
        description="An answer to each interrupt that the previous run ended with. Its refinement continues, "
        "and `messages` is not read.",
        json_schema_extra={"maxItems": MAX_ACTIONS},
    ),
]


@dataclass(frozen=True, slots=True)
class Resume:
    """Answers to the interrupts of one question.

    entries: the index of each action, -1 for a question without actions, to its decision; to None where
    nobody decides.
    """

    thread_id: UUID
    seq: int
    entries: Mapping[int, ActionDecision | None]

    @property
    def cancelled(self) -> bool:
        """Whether nobody decides about anything."""
        return not any(self.entries.values())

    def decisions(self, question: InputRequested) -> list[ActionDecision]:
        """The decisions about all actions of the question; nobody's is to reject. Raises InvalidArgument."""
        numbers = set(range(len(question.actions))) or {-1}
        if set(self.entries) - numbers:
            raise _wrong("names an interrupt that the question does not have")
        missing = [
            interrupt_id(self.thread_id, self.seq, number + 1) for number in numbers - set(self.entries)
        ]
        if missing:
            raise _wrong(f"must answer every open interrupt: {', '.join(sorted(missing))}")
        entries = (self.entries[index] for index in sorted(numbers - {-1}))
        return [ActionDecision(REJECT) if each is None else each for each in entries]

    def key(self, decisions: Iterable[ActionDecision]) -> str:
        """The idempotency key of the reply: the same answers are given once, however often they are sent."""
        content: list[object] = [str(self.thread_id), self.seq]
        content += [[each.decision, each.edited_arguments, each.message] for each in decisions]
        return f"agui-resume-{hashlib.sha256(json.dumps(content).encode()).hexdigest()}"


def resume_of(entries: Sequence[ResumeEntry]) -> Resume:
    """What the entries of a request answer. Raises InvalidArgument, NotFound for ids that name nothing."""
    names = [_INTERRUPT_ID.fullmatch(entry.interruptId) for entry in entries]
    if any(name is None or int(name["seq"]) > MAX_SEQ for name in names):
        raise NotFound("no such interrupt")
    found = [name for name in names if name is not None]
    if len({(name["thread"], int(name["seq"])) for name in found}) != 1:
        raise _wrong("must answer the interrupts of one run")
    decided = {
        int(name["number"]) - 1: _decided(number, entry)
        for number, (name, entry) in enumerate(zip(found, entries, strict=True))
    }
    if len(decided) < len(entries):
        raise _wrong("answers an interrupt twice")
    return Resume(UUID(found[0]["thread"]), int(found[0]["seq"]), decided)


def _decided(number: int, entry: ResumeEntry) -> ActionDecision | None:
    if entry.status == "cancelled":
        return None
    try:
        return _Payload.model_validate(entry.payload).action_decision()
    except InvalidArgument as error:
        raise _wrong(f"answer {number}: payload: {error.message}") from None


def _wrong(text: str) -> InvalidArgument:
    return InvalidArgument({"resume": text})
