"""Messages as the runtime prints them, recorded (tests/data/messages) or made."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from server.domain.journal.events import AgentMessage, StateUpdate
from server.frames.interpreter import Interpreter

FOLDER = Path(__file__).parents[2] / "data" / "messages"


@cache
def recorded(name: str) -> list[dict[str, Any]]:
    """The cases of a file."""
    cases: list[dict[str, Any]] = json.loads((FOLDER / f"{name}.json").read_text())
    return cases


def state_frame(*messages: str) -> bytes:
    """A state frame that prints these messages."""
    data = {"messages": f"[{', '.join(messages)}]"}
    return json.dumps({"event_type": "on_state_update", "data": data}).encode()


def token_frame(raw: str) -> bytes:
    """A token frame with a printed piece and its metadata, written as the runtime's framework writes JSON."""
    value = {"event_type": "on_llm_stream", "data": {"raw_event": raw}}
    return json.dumps(value, separators=(",", ":")).encode()


def read_list(*messages: str) -> list[AgentMessage]:
    """What a state with these printed messages has."""
    (update,) = Interpreter().interpret(state_frame(*messages)).kinds
    assert isinstance(update, StateUpdate)
    assert update.message_count == len(update.messages)
    return [change.message for change in update.messages]


def tool_message(number: int, artifact: str) -> str:
    """A tool's answer whose artifact prints as given."""
    return (
        f"ToolMessage(content='{number} rows', name='query', id='t{number}', tool_call_id='c{number}', "
        f"artifact={artifact})"
    )


def message_of(**members: Any) -> AgentMessage:
    """A message of the model, printed."""
    (message,) = read_list(f"AIMessage({', '.join(f'{key}={value!r}' for key, value in members.items())})")
    return message
