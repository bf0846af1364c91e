"""Messages in the printed form of `str`, which has no class name: `content='x' id='1'`."""

from __future__ import annotations

import re

from server.frames.printed import STRING, Unreadable, split

#: A field with a value that is a string or a word; behind another one, a bracket follows.
_FIELD = re.compile(rf"(\w+)=(?:{STRING}|[^\s'\"\[({{]\S*+|(?=[\[({{]))", re.DOTALL)
#: Fields that only messages of one class have, and that class.
_CLASSES = {
    "tool_call_chunks": "AIMessageChunk",
    "tool_calls": "AIMessage",
    "tool_call_id": "ToolMessage",
    "role": "ChatMessage",
}


def as_call(text: str) -> str:
    """The same message as `repr` prints it. If the fields do not identify the class, it is `Message`, whose
    role is unknown. Raises Unreadable when the text is not a message in that form."""
    if not text.startswith("content="):
        raise Unreadable
    fields: dict[str, str] = {}
    at = 0
    while at < len(text):
        field = _FIELD.match(text, at)
        if field is None:
            raise Unreadable
        end = field.end() if text[field.end() - 1] != "=" else split(text, field.end()).end
        if end is None or text[end : end + 1] not in ("", " "):
            raise Unreadable
        fields[field[1]] = text[at:end]
        at = end + 1
    name = next((name for field, name in _CLASSES.items() if field in fields), "Message")
    return f"{name}({', '.join(fields.values())})"
