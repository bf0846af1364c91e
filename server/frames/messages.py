"""One message of the agent, read from the runtime's printed form or from JSON.

Both forms become the same members: a class name or role word, and the values by the names that the framework
gives them.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from server.domain.journal.content import ContentPart, OtherContent
from server.domain.journal.events import AgentMessage, InvalidToolCall, Role, TokenUsage, ToolCall
from server.frames import literals, nameless, printed, raw_json
from server.frames.beside_content import parts_beside
from server.frames.content import CALLS, read_content
from server.frames.literals import Printed
from server.frames.string_literals import string

#: The framework's class names, without the `Chunk` of a piece, and the role words of JSON messages.
ROLES: Mapping[str, Role] = {
    "HumanMessage": Role.HUMAN,
    "AIMessage": Role.AI,
    "ToolMessage": Role.TOOL,
    "FunctionMessage": Role.TOOL,
    "SystemMessage": Role.SYSTEM,
    "human": Role.HUMAN,
    "user": Role.HUMAN,
    "ai": Role.AI,
    "assistant": Role.AI,
    "tool": Role.TOOL,
    "function": Role.TOOL,
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
}

#: The members of a message that are read.
MEMBERS = frozenset(
    {
        "content",
        "additional_kwargs",
        "id",
        "name",
        "role",
        "tool_calls",
        "invalid_tool_calls",
        "tool_call_id",
        "status",
        "usage_metadata",
    }
)


#: Values that need not be read, except as a content: without one it is not a message.
_NOTHING = ("None", "{}")


def role_of(name: str) -> Role:
    """The role of a class name or a role word."""
    return ROLES.get(name.removesuffix("Chunk"), Role.UNSPECIFIED)


def read_message(word: str, members: Mapping[str, Any], *, complete: bool = True) -> AgentMessage:
    """The message of a class name or role word and its members. complete: no member could not be read.
    Raises printed.Unreadable when there is no content that can be read."""
    if "content" not in members:
        raise printed.Unreadable
    text, parts = read_content(members["content"], has_calls=_has_calls(members))
    role, name = role_of(word), _text(members.get("name"))
    calls, odd = _tool_calls(members, from_content=role is Role.AI)
    if word.removesuffix("Chunk") in ("ChatMessage", "chat"):
        role, name = role_of(_text(members.get("role"))), name or _text(members.get("role"))
    if word in ("RemoveMessage", "remove"):
        # It is not a message: it says which one is gone.
        parts += (ContentPart(OtherContent("remove", literals.json_text(_text(members.get("id"))))),)
    return AgentMessage(
        id=_text(members.get("id")),
        role=role,
        text=text,
        tool_calls=calls,
        name=name,
        tool_call_id=_text(members.get("tool_call_id")),
        uninterpreted=not complete,
        parts=parts_beside(members.get("additional_kwargs")) + parts,
        invalid_tool_calls=odd + tuple(map(_invalid_call, _elements(members.get("invalid_tool_calls")))),
        status=_text(members.get("status")) if role is Role.TOOL else "",
        usage=_usage(members.get("usage_metadata")),
    )


def printed_members(call: printed.Call, names: Container[str] = MEMBERS) -> dict[str, Any]:
    """The values of a printed call's arguments."""
    return {
        name: literals.value(text)
        for name, text in call.keywords.items()
        if name in names and (text not in _NOTHING or name == "content")
    }


def from_printed(text: str, call: printed.Call | None = None) -> AgentMessage:
    """A message from an item of a printed list; uninterpreted when it cannot be read. call: the call that the
    item is, if that is known."""
    try:
        if call is None and text[:1] in ("'", '"'):
            return from_text(string(text))
        if call is None and text[:1] in ("{", "("):
            return _from_value(literals.value(text))
        call = printed.message_call(text) if call is None else call
        return read_message(call.name, printed_members(call), complete=call.complete)
    except printed.Unreadable:
        return as_text(text)


def from_json(text: str) -> AgentMessage:
    """A message from an item of a JSON list; uninterpreted when it is not a message."""
    value = raw_json.lenient_value(text.encode())
    if isinstance(value, str):
        return from_text(value)
    try:
        return _from_value(value)
    except printed.Unreadable:
        return as_text(text)


def from_text(text: str) -> AgentMessage:
    """A message from a text of its own, which may be its printed form; otherwise uninterpreted."""
    try:
        if text.startswith("{"):
            return _from_value(literals.value(text))
        call = printed.message_call(text if printed.is_call(text) else nameless.as_call(text))
        if not printed.is_call(text) or role_of(call.name) is not Role.UNSPECIFIED:
            return read_message(call.name, printed_members(call), complete=call.complete)
    except printed.Unreadable:
        pass
    return as_text(text)


def as_text(text: str) -> AgentMessage:
    """A text that is not a message in any known form."""
    return AgentMessage(text=text, uninterpreted=True)


def _from_value(value: Any) -> AgentMessage:
    match value:
        case [str(word), str(text)] if word in ROLES:
            return AgentMessage(role=ROLES[word], text=text)
        case dict():
            return read_message(*json_members(value))
        case _:
            raise printed.Unreadable


def json_members(value: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The role word and the members of a message as a JSON object: with `content` and `role` or `type`, with
    those inside `data`, or as the framework's constructor. Raises printed.Unreadable."""
    match value:
        case {"lc": int(), "id": [*_, str(name)], "kwargs": dict(members)}:
            return name, members
        case {"type": str(word), "data": dict(members)}:
            return word, members
    role = value.get("role") or value.get("type")
    if not isinstance(role, str):
        raise printed.Unreadable
    if "content" not in value and value.get("tool_calls"):
        return role, {**value, "content": ""}
    return role, value


def _has_calls(members: Mapping[str, Any]) -> bool:
    return bool(
        members.get("tool_call_chunks") or members.get("tool_calls") or members.get("invalid_tool_calls")
    )


def _tool_calls(
    members: Mapping[str, Any], *, from_content: bool
) -> tuple[tuple[ToolCall, ...], tuple[InvalidToolCall, ...]]:
    """The tool calls of a message, from its list or else from the blocks of its content, and what the list
    has that is not a call."""
    listed = _elements(members.get("tool_calls"))
    calls = [_tool_call(item) for item in listed if isinstance(item, dict)]
    odd = [_invalid_call(item) for item in listed if not isinstance(item, dict)]
    content = members.get("content")
    if from_content and not listed and not members.get("invalid_tool_calls") and isinstance(content, list):
        calls = [
            ToolCall(
                _text(block.get("id")),
                _text(block.get("name")),
                _written(block.get("args", block.get("input"))),
            )
            for block in content
            if isinstance(block, dict) and block.get("type") in CALLS and _text(block.get("name"))
        ]
    return tuple(calls), tuple(odd)


def _elements(value: Any) -> list[Any]:
    """The elements of a list of calls, without those that are None; a value that is not a list is one."""
    return [item for item in (value if isinstance(value, list) else [value]) if item is not None]


def _tool_call(call: Mapping[str, Any]) -> ToolCall:
    function = call.get("function")
    if isinstance(function, dict):
        return ToolCall(
            _written(call.get("id")), _written(function.get("name")), _written(function.get("arguments"))
        )
    return ToolCall(_written(call.get("id")), _written(call.get("name")), _written(call.get("args", {})))


def _invalid_call(item: Any) -> InvalidToolCall:
    """A call that could not be parsed; the arguments of what is not a call are its text."""
    call = item if isinstance(item, dict) else {"args": item}
    return InvalidToolCall(*(_written(call.get(key)) for key in ("id", "name", "args", "error")))


def _usage(usage: Any) -> TokenUsage | None:
    if not isinstance(usage, dict):
        return None
    return TokenUsage(
        _count(usage, "input_tokens"),
        _count(usage, "output_tokens"),
        _count(usage, "total_tokens"),
        _count(usage.get("input_token_details"), "cache_read"),
        _count(usage.get("output_token_details"), "reasoning"),
    )


def _count(counts: Any, key: str) -> int:
    value = counts.get(key) if isinstance(counts, dict) else None
    return min(value, 2**64 - 1) if type(value) is int and value > 0 else 0


def _text(value: Any) -> str:
    """A string, and what reads like one; empty for a value of another kind."""
    return str(value) if isinstance(value, str) and not isinstance(value, Printed) else ""


def _written(value: Any) -> str:
    """A string, the printed form of what is not readable, or JSON text; empty for None."""
    if value is None:
        return ""
    return str(value) if isinstance(value, str) else literals.json_text(value)
