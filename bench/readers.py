"""Readers of one run, by target: they take everything as it comes, and it is validated later.

A reader returns the raw messages of a whole stream. `check` says how many events they bring, and
raises Incomplete unless every one is there, once and in order.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import grpc.aio
import httpx

from ide_orchestrator.v1.refinement_pb2 import WatchRefinementResponse
from tests.support.client import grpc_messages, socket_messages
from tests.support.tokens import bearer

Message = str | bytes


class Incomplete(Exception):
    """A stream that is not what was recorded: its figure is worth nothing."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the targets are, and a token of a user with a workflow."""

    proxy: str
    http: str
    grpc: str
    token: str
    workflow_id: str


@dataclass(frozen=True, slots=True)
class Session:
    """The connections of a reader's process."""

    at: Addresses
    http: httpx.AsyncClient
    channel: grpc.aio.Channel


async def start_on_hub(session: Session, directive: str) -> str:
    """Start a refinement; its thread."""
    answer = await session.http.post(
        f"{session.at.http}/api/workflows/{session.at.workflow_id}/refinements",
        json={"user_prompt": f"Measure. [[replay:{directive}]]"},
        headers=bearer(session.at.token),
    )
    answer.raise_for_status()
    return str(answer.json()["thread_id"])


async def start_on_proxy(session: Session, directive: str) -> str:
    """Start a job through the proxy; its thread."""
    thread = str(uuid4())
    job = {
        "trace_id": str(uuid4()),
        "job_id": thread,
        "agent_definition": {"user_request": f"Measure. [[replay:{directive}]]"},
        "input_payload": {"messages": [{"role": "user", "content": "Measure."}]},
    }
    answer = await session.http.post(f"{session.at.proxy}/invoke", json=job)
    answer.raise_for_status()
    return thread


async def read_proxy(session: Session, thread: str) -> list[Message]:
    """Follow a thread through the proxy."""
    return [message async for message in socket_messages(f"{session.at.proxy}/stream/{thread}")]


def hub_socket(subprotocol: str | None) -> Callable[[Session, str], Awaitable[list[Message]]]:
    """A follower over the hub's WebSocket, in the form that the subprotocol names."""

    async def read(session: Session, thread: str) -> list[Message]:
        url = f"{session.at.http}/api/ws/refinements/{thread}"
        return [message async for message in socket_messages(url, session.at.token, subprotocol)]

    return read


async def read_grpc(session: Session, thread: str) -> list[Message]:
    """Follow a thread over gRPC; the messages stay serialised."""
    return [message async for message in grpc_messages(session.channel, session.at.token, thread)]


# --- Validation ------------------------------------------------------------------------------


def _numbered(seqs: Sequence[int], ends: Sequence[bool]) -> int:
    if list(seqs) != list(range(1, len(seqs) + 1)) or not seqs:
        raise Incomplete(f"the events are not 1 to {len(seqs)}, each once and in order")
    if list(ends) != [False] * (len(seqs) - 1) + [True]:
        raise Incomplete("the terminal event is not the last one, or there is none")
    return len(seqs)


def check_frames(messages: Sequence[Message], frames: Sequence[str]) -> int:
    """The runtime's own frames, word for word."""
    if list(messages) != list(frames):
        raise Incomplete("the frames are not those of the recording")
    return len(frames)


def check_legacy(messages: Sequence[Message], frames: Sequence[str]) -> int:
    """The legacy frames: a type and a place for each of the recording's."""
    found: list[Mapping[str, Any]] = [json.loads(message) for message in messages]
    kinds = [json.loads(frame)["event_type"] for frame in frames]
    if [frame["event_type"] for frame in found] != kinds:
        raise Incomplete("the frames are not of the recording's types")
    seqs = [frame["seq"] for frame in found]
    if seqs != sorted(set(seqs)):
        raise Incomplete("the frames' places do not grow")
    return len(found)


def check_json(messages: Sequence[Message], _frames: Sequence[str]) -> int:
    """Typed events as proto-JSON."""
    parsed = [json.loads(message) for message in messages]
    events = [event for message in parsed for event in message.get("batch", {}).get("events", ())]
    return _numbered([event["seq"] for event in events], ["terminal" in event for event in events])


def check_proto(messages: Sequence[Message], _frames: Sequence[str]) -> int:
    """Typed events as protobuf."""
    parsed = [WatchRefinementResponse.FromString(bytes(message)) for message in messages]  # type: ignore[arg-type]
    events = [event for message in parsed for event in message.batch.events]
    return _numbered([event.seq for event in events], [event.HasField("terminal") for event in events])


@dataclass(frozen=True, slots=True)
class Target:
    """A way from the runtime to one reader."""

    start: Callable[[Session, str], Awaitable[str]]
    read: Callable[[Session, str], Awaitable[list[Message]]]
    check: Callable[[Sequence[Message], Sequence[str]], int]


TARGETS: Mapping[str, Target] = {
    "proxy": Target(start_on_proxy, read_proxy, check_frames),
    "hub legacy": Target(start_on_hub, hub_socket(None), check_legacy),
    "hub ideo.v1": Target(start_on_hub, hub_socket("ideo.v1"), check_json),
    "hub ideo.v1.proto": Target(start_on_hub, hub_socket("ideo.v1.proto"), check_proto),
    "hub gRPC": Target(start_on_hub, read_grpc, check_proto),
}
