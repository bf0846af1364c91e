"""Ways to follow that have no typed events: the runtime's own frames, and the events of AG-UI."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from ide_orchestrator.client.http_calls import with_query
from ide_orchestrator.client.responses import problem_of
from ide_orchestrator.conformance.target import Broken, Target, expect
from ide_orchestrator.conformance.transports import answered, server_sent

_DONE = 1000


async def legacy_frames(target: Target, thread_id: str, after: int) -> AsyncGenerator[dict[str, Any], None]:
    """The frames of a WebSocket without a subprotocol that have a seq. Raises HubError."""
    url = with_query(f"{target.http}/api/ws/refinements/{thread_id}", {"after": after})
    headers = {"Authorization": f"Bearer {target.token}"} if target.token else {}
    try:
        async with connect(
            f"ws{url.removeprefix('http')}",
            additional_headers=headers,
            max_size=None,
            compression=None,
            ssl=target.ssl,
            proxy=None,
            close_timeout=1,
        ) as socket:
            async for message in socket:
                frame = json.loads(message)
                if not {"event_type", "data"} <= frame.keys():
                    raise Broken(f"a frame has the members {', '.join(frame)}, not event_type and data")
                # Progress has no seq, nor has the hub's own error before its `end`.
                if "seq" in frame:
                    yield frame
    except InvalidStatus as error:
        answer = error.response
        raise problem_of(answer.status_code, answer.headers, answer.body or b"", target.http) from error
    expect(socket.close_code, _DONE, "the code of the close")


async def agui_events(
    target: Target, workflow_id: str, thread_id: str, last_id: str = ""
) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
    """The events of a refinement as a run of AG-UI, with their ids; last_id: those after it. Raises
    HubError."""
    body = {
        "threadId": thread_id,
        "runId": "conformance",
        "messages": [{"id": "1", "role": "user", "content": "follow"}],
        "state": {},
        "tools": [],
        "context": [],
        "forwardedProps": {},
    }
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
    path = f"/api/workflows/{workflow_id}/agui"
    async with target.open_http() as http, http.stream("POST", path, json=body, headers=headers) as answer:
        if answer.is_error:
            await answer.aread()
            answered(answer)
        async for fields in server_sent(answer.aiter_bytes()):
            if "id" not in fields:
                raise Broken("an event has no id")
            yield fields["id"], json.loads(fields["data"])


def legacy_files(frames: Iterable[dict[str, Any]]) -> dict[str, bytes]:
    """The files of the last state frame that has any, as the form of the first clients gives them."""
    found: dict[str, Any] = {}
    for frame in frames:
        data = frame["data"]
        if isinstance(data, dict) and isinstance(data.get("files"), dict) and data["files"]:
            found = data["files"]
    return {
        path: "\n".join(file["content"]).encode()
        for path, file in found.items()
        if file.get("encoding", "utf-8") == "utf-8"
    }


def agui_hashes(events: Iterable[dict[str, Any]]) -> dict[str, str]:
    """The hashes of the files in the shared state after all events."""
    files: dict[str, str] = {}
    for event in events:
        if event["type"] == "STATE_SNAPSHOT":
            files = {path: file["sha256"] for path, file in event["snapshot"].get("files", {}).items()}
        elif event["type"] == "STATE_DELTA":
            for change in event["delta"]:
                top, _, rest = change["path"].removeprefix("/").partition("/")
                if top != "files":
                    continue
                path = rest.replace("~1", "/").replace("~0", "~")
                if change["op"] == "remove":
                    files.pop(path, None)
                else:
                    files[path] = change["value"]["sha256"]
    return files


def seq_of(agui_id: str) -> int:
    """The seq of the last event that an id of AG-UI stands after."""
    seq, _, part = agui_id.partition(".")
    return int(seq) + (1 if part else 0)
