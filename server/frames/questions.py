"""The questions in an agent's request for input: the tool calls that a person is to decide about.

Only the form of LangChain's human-in-the-loop middleware is read: `action_requests` and `review_configs`. Any
other request has no actions, and is shown as the runtime prints it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from server.domain.journal.events import InputAction, InputRequested
from server.encoding.json_text import load
from server.frames import literals, printed, printed_objects
from server.frames.printed import Unreadable

#: Characters of a request that is read: one with a whole file as an argument. A larger one is only kept.
_MAX_CHARS = 1 << 20


def read_request(request: str) -> InputRequested:
    """A request with what it asks, in the runtime's order. Its id is that of the only interrupt in it."""
    interrupts = _interrupts(request) if len(request) <= _MAX_CHARS else []
    actions = [action for interrupt in interrupts for action in _actions(interrupt.get("value"))]
    ids = [interrupt.get("id") for interrupt in interrupts]
    input_id = ids[0] if len(ids) == 1 and isinstance(ids[0], str) else ""
    return InputRequested(request, str(input_id), tuple(actions))


def _interrupts(request: str) -> list[dict[str, Any]]:
    """The interrupts of a request in JSON, or in Python's printed form; none when it cannot be read."""
    try:
        found = load(request)
    except (ValueError, RecursionError):
        found = _printed_items(request)
    return _dicts(found)


def _printed_items(request: str) -> list[Any]:
    if not request.startswith(("[", "(")):
        return []
    try:
        texts, end = printed.parts(request)
    except Unreadable:
        return []
    return list(map(printed_objects.members, texts)) if end == len(request) else []


def _actions(value: Any) -> list[InputAction]:
    if not isinstance(value, dict):
        return []
    allowed = {
        _text(config.get("action_name")): tuple(map(_text, _list(config.get("allowed_decisions"))))
        for config in _dicts(value.get("review_configs"))
    }
    return [
        InputAction(
            name=_text(action.get("name")),
            arguments=_json(action.get("args", action.get("arguments", {}))),
            description=_text(action.get("description")),
            allowed_decisions=allowed.get(_text(action.get("name")), ()),
        )
        for action in _dicts(value.get("action_requests"))
    ]


def _json(value: Any) -> str:
    """The JSON text of arguments; empty when JSON has no such value."""
    try:
        return literals.json_text(value)
    except Unreadable:
        return ""


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in _list(value) if isinstance(each, dict)]


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str) else ""
