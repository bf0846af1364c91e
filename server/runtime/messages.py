"""The agent's messages, read from the runtime's printed form or from JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from server.domain.journal.events import AgentMessage, MessageChange, Role, ToolCall
from server.runtime import jsontext, printed

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

#: Blocks of a content list that only repeat the message's tool calls.
_CALL_BLOCKS = frozenset({"tool_use", "input_json_delta", "tool_call", "tool_call_chunk"})


def role_of(name: str) -> Role:
    """The role of a class name or a role word."""
    return ROLES.get(name.removesuffix("Chunk"), Role.UNSPECIFIED)


def content_text(content: Any) -> str:
    """A message's content as text: a string, or a list of blocks whose texts are joined.

    A block that is not text becomes JSON on its own line. Raises printed.Unreadable.
    """
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if not isinstance(content, list):
        return printed.json_text(content)
    text = ""
    for block in content:
        match block:
            case str(piece) | {"text": str(piece)}:
                text += piece
            case {"type": str(kind)} if kind in _CALL_BLOCKS:
                continue
            case _:
                text += ("\n" if text and not text.endswith("\n") else "") + printed.json_text(block) + "\n"
    return text


def from_printed(text: str) -> AgentMessage:
    """A message from its printed form; uninterpreted when it cannot be read."""
    try:
        name, keywords, end = printed.call(text)
        if end != len(text) or "content" not in keywords:
            raise printed.Unreadable
        return AgentMessage(
            id=printed.optional_string(keywords.get("id")),
            role=role_of(name),
            text=content_text(printed.literal(keywords["content"])),
            tool_calls=_printed_calls(keywords.get("tool_calls")),
            name=printed.optional_string(keywords.get("name")),
            tool_call_id=printed.optional_string(keywords.get("tool_call_id")),
        )
    except printed.Unreadable:
        return AgentMessage(text=text, uninterpreted=True)


def _printed_calls(text: str | None) -> tuple[ToolCall, ...]:
    if text is None or not text.startswith("["):
        return ()
    calls = []
    for item in printed.parts(text, 0)[0]:
        if not item.startswith("{"):
            raise printed.Unreadable
        fields = printed.entries(item)
        arguments = fields.get("args", "")
        try:
            value = printed.literal(arguments)
            arguments = value if isinstance(value, str) else printed.json_text(value)
        except printed.Unreadable:
            pass
        calls.append(
            ToolCall(
                printed.optional_string(fields.get("id")),
                printed.optional_string(fields.get("name")),
                arguments,
            )
        )
    return tuple(calls)


def from_json(text: str) -> AgentMessage:
    """A message from an item of a JSON list: a string, an object with `content` and `role` or `type`, or
    such an object inside `data`; uninterpreted when it is none of these."""
    value = jsontext.lenient_value(text.encode())
    if isinstance(value, str):
        return AgentMessage(text=value, uninterpreted=True)
    try:
        return _from_object(value)
    except printed.Unreadable:
        return AgentMessage(text=text, uninterpreted=True)


def _from_object(value: Any) -> AgentMessage:
    if not isinstance(value, dict):
        raise printed.Unreadable
    word = value.get("role") or value.get("type")
    inner = value["data"] if isinstance(value.get("data"), dict) else value
    if not isinstance(word, str) or "content" not in inner:
        raise printed.Unreadable
    calls = inner.get("tool_calls") or []
    if not isinstance(calls, list) or not all(isinstance(item, dict) for item in calls):
        raise printed.Unreadable
    return AgentMessage(
        id=_text(inner.get("id")),
        role=role_of(word),
        text=content_text(inner["content"]),
        tool_calls=tuple(
            ToolCall(_text(item.get("id")), _text(item.get("name")), _arguments(item)) for item in calls
        ),
        name=_text(inner.get("name")),
        tool_call_id=_text(inner.get("tool_call_id")),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _arguments(item: dict[str, Any]) -> str:
    arguments = item.get("args", {})
    return arguments if isinstance(arguments, str) else printed.json_text(arguments)


class MessageList:
    """The message list of a run, read from the `messages` value of each state frame as JSON text.

    Its content depends on the last value alone; the value before only saves work. A value usually extends
    the one before: then only the new part is read, so that a run takes linear time.
    """

    def __init__(self) -> None:
        self.messages: list[AgentMessage] = []
        self._raw = b""
        self._sources: list[str] = []
        self._read: Callable[[str], AgentMessage] = _as_text

    @staticmethod
    def covers(raw: bytes, polled: bool) -> bool:
        """Whether the value lists messages: an array or a string. The sentence of a poll summary does not,
        because it is not part of the agent's conversation."""
        return raw[:1] == b"[" or raw[:2] == b'"[' or (raw[:1] == b'"' and not polled)

    def read(self, raw: bytes) -> tuple[MessageChange, ...]:
        """Read the next value. Returns the messages that are new or differ."""
        if raw == self._raw:
            return ()
        kept = self._extended(raw)
        if kept is None:
            read, sources = _sources(raw)
            same = self._read is read
        else:
            read, same = from_printed, True
            sources = self._sources + kept
        first = len(self._sources) if kept is not None else 0
        messages, changes = self.messages[:first], []
        for index in range(first, len(sources)):
            old = self.messages[index] if index < len(self.messages) else None
            if old is not None and same and self._sources[index] == sources[index]:
                messages.append(old)
                continue
            message = read(sources[index])
            messages.append(message)
            if message != old:
                changes.append(MessageChange(index, message))
        self._raw, self._read, self._sources, self.messages = raw, read, sources, messages
        return tuple(changes)

    def _extended(self, raw: bytes) -> list[str] | None:
        """The items that `raw` adds to the last printed list; None when it does not extend it."""
        if self._read is not from_printed or not self._sources:
            return None
        # The scan of the old text found its brackets balanced, so it is complete without its `]"`.
        cut = len(self._raw) - 2
        if self._raw[cut:] != b']"' or raw[cut : cut + 2] != b", " or not raw.startswith(self._raw[:cut]):
            return None
        added = jsontext.string(b'"[' + raw[cut + 2 :])
        return None if added is None else _printed_items(added)


def _as_text(text: str) -> AgentMessage:
    return AgentMessage(text=text, uninterpreted=True)


def _printed_items(text: str) -> list[str] | None:
    try:
        found, end = printed.parts(text, 0)
    except printed.Unreadable:
        return None
    return found if end == len(text) else None


def _sources(raw: bytes) -> tuple[Callable[[str], AgentMessage], list[str]]:
    """The function that reads a message of the value, and the text of each message."""
    text = jsontext.string(raw)
    if text is None:
        return from_json, [item.decode() for item in jsontext.items(raw) or []]
    found = _printed_items(text) if text.startswith("[") else None
    if found is not None and (not found or printed.is_call(found[0])):
        return from_printed, found
    return _as_text, [text]
