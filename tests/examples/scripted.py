"""Prompts for the examples' scripted model, and what its runs leave behind."""

from __future__ import annotations

import json
from typing import Any

from server.cli.hub_client import HubClient
from server.domain.journal.events import AgentMessage, Role
from server.frames import raw_json
from server.frames.message_list import MessageList
from tests.support.recordings import frames

#: A workflow whose agent asks before it writes a file.
ASKS = {"ask_before": ["write_file"]}


def write(path: str, content: str) -> list[Any]:
    """A call of the agent's that writes a file."""
    return ["write_file", {"file_path": path, "content": content}]


def turn(text: str, *calls: list[Any]) -> dict[str, Any]:
    """What the model says and calls before the tools answer."""
    return {"text": text, "calls": calls}


def script(*turns: dict[str, Any]) -> str:
    """A prompt that tells the scripted model what to do."""
    return json.dumps(turns)


def script_of(recording: str, *more: dict[str, Any]) -> str:
    """A prompt that has the scripted model say and call what the model of a recorded run did."""
    messages = MessageList()
    for frame in frames(recording):
        data = raw_json.members((raw_json.members(frame) or {})["data"]) or {}
        if "messages" in data:
            messages.read(data["messages"])
    spoken = [message for message in messages.messages if isinstance(message, AgentMessage)]
    turns = [
        turn(message.text, *([call.name, json.loads(call.arguments)] for call in message.tool_calls))
        for message in spoken
        if message.role is Role.AI
    ]
    return script(*turns, *more)


async def events_of(client: HubClient, thread_id: str, until: str = "terminal") -> list[dict[str, Any]]:
    """The events of a thread up to the first of a kind."""
    events: list[dict[str, Any]] = []
    async for message in client.messages(thread_id):
        for event in message.get("batch", {}).get("events", ()):
            events.append(event)
            if until in event:
                return events
    raise AssertionError(f"no event is {until}")


def texts(files: dict[str, Any]) -> dict[str, str]:
    """Contents by path."""
    return {path: "\n".join(file["content"]) for path, file in files.items()}


async def approving(client: HubClient, thread_id: str) -> list[dict[str, Any]]:
    """The events of a thread to its end, whose questions are answered with an approval."""
    events: list[dict[str, Any]] = []
    async for message in client.messages(thread_id):
        for event in message.get("batch", {}).get("events", ()):
            events.append(event)
            if "input_requested" in event:
                reply = {"seq": event["seq"], "decisions": [{"decision": "approve"}]}
                await client.call("POST", f"/api/refinements/{thread_id}/reply", reply)
    return events


def questions_in(events: list[dict[str, Any]]) -> int:
    """How many of the events are questions."""
    return sum("input_requested" in event for event in events)
