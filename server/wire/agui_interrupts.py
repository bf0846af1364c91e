"""The interrupts of an AG-UI run: what a question of the agent asks, one for each tool call."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID

import msgspec

from server.domain.runs.replies import CALLING_DECISIONS, USUAL_DECISIONS
from server.wire import messages as m
from server.wire.refinements import MAX_PROMPT
from server.wire.rendering import message_dict
from server.wire.text import dumps, get_time, rfc3339


class Interrupt(msgspec.Struct, array_like=True):
    """An interrupt, without what depends on the reader.

    number: of the action, from 1; 0 for a question without readable actions. call: the key of the tool call,
    empty without one. schema: of the answer's payload, empty if it cannot be answered. members: the others,
    as JSON without braces. metadata: its members in the same form.
    """

    number: int
    call: bytes
    schema: bytes
    members: bytes
    metadata: bytes


def interrupt_id(thread_id: UUID, seq: int, number: int) -> str:
    """The id by which an answer names a refinement, the question of an event, and one of its actions."""
    return f"{thread_id}:{seq}:{number}"


def call_key(name: str, arguments: str) -> bytes:
    """A key that is the same for a tool call and for the action that asks about it."""
    # What is not JSON is compared as it is.
    with suppress(ValueError, RecursionError):
        arguments = json.dumps(json.loads(arguments), sort_keys=True)
    text = json.dumps([name, arguments])
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def interrupts_of(seq: int, asked: m.InputRequested) -> Iterator[Interrupt]:
    """The interrupts of a question."""
    expires = b""
    if asked.HasField("expire_time"):
        expires = b',"expiresAt":%b' % dumps(rfc3339(get_time(asked.expire_time)))
    if not asked.actions:
        members = b'"message":%b%b' % (dumps(asked.request), expires)
        yield Interrupt(0, b"", b"", members, b'"seq":%d' % seq)
    for number, action in enumerate(asked.actions, 1):
        message = action.description or f"The agent asks whether it may call {action.name}."
        yield Interrupt(
            number,
            call_key(action.name, action.arguments),
            dumps(_schema(action)),
            b'"message":%b%b' % (dumps(message), expires),
            b'"seq":%d,"action":%b' % (seq, dumps(message_dict(action))),
        )


def _schema(action: m.InputAction) -> dict[str, Any]:
    """The JSON schema of the payload that decides about an action."""
    allowed = list(action.allowed_decisions) or list(USUAL_DECISIONS)
    own = [word for word in allowed if word not in USUAL_DECISIONS]
    properties: dict[str, Any] = {}
    if len(own) < len(allowed):
        properties["approved"] = {"type": "boolean"}
    if "edit" in allowed:
        text = "With approval: the arguments to use instead, all of them."
        properties["editedArgs"] = {"type": "object", "description": text}
    if any(word not in CALLING_DECISIONS for word in allowed):
        text = "Without approval: a message to the agent."
        properties["message"] = {"type": "string", "maxLength": MAX_PROMPT, "description": text}
    if own:
        text = "The decision in the agent's own words, instead of approved."
        properties["decision"] = {"type": "string", "enum": allowed, "description": text}
    required = {} if own else {"required": ["approved"]}
    return {"type": "object", "properties": properties, **required, "additionalProperties": False}
