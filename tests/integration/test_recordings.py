"""Recorded runs through the whole hub, over its real sockets, with nobody connected."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc.aio
import pytest
import pytest_asyncio

from ide_orchestrator.v1 import proposal_pb2_grpc
from server.cli.hub_client import HubClient
from server.domain.journal.events import StateUpdate, Token
from server.wire import messages as m
from server.wire.codec import ProtobufCodec
from tests.support.client import events
from tests.support.hub import RunningHub, a_workflow, running_hub, start
from tests.support.recordings import NAMES, content_of, expected, facts_of, frames
from tests.support.stored import compacted

CODEC = ProtobufCodec()


@pytest_asyncio.fixture
async def hub(database: str) -> AsyncIterator[RunningHub]:
    async with running_hub(database) as running:
        yield running


async def unattended(client: HubClient, started: dict[str, Any]) -> dict[str, Any]:
    """The proposal once it is over, found out by asking: nobody follows the run."""
    async with asyncio.timeout(60):
        while True:
            proposal = await client.call("GET", f"/api/proposals/{started['proposal_id']}")
            if proposal["status"] != "processing":
                return proposal
            await asyncio.sleep(0.02)


async def test_complete_refinement_workflow(hub: RunningHub) -> None:
    """Start a refinement, let the runtime's events come, find files and status."""
    async with hub.client() as client:
        started = await start(client, "Add web search [[replay:short_run]]")
        assert started["status"] == "processing"
        assert started["thread_id"]
        assert started["websocket_url"] == f"/api/ws/refinements/{started['thread_id']}"
        proposal = await unattended(client, started)
    assert proposal["status"] == "completed"
    assert proposal["generated_files"]["/THE_SPEC/constitution.md"]["content"][0] == "# Constitution"


@pytest.mark.parametrize("name", NAMES)
async def test_a_recording_ends_as_it_should_without_a_client(hub: RunningHub, name: str) -> None:
    async with hub.client() as client:
        started = await start(client, f"[[replay:{name}]]")
        proposal = await unattended(client, started)
    assert proposal["status"] == expected(name)["outcome"]
    assert facts_of(proposal["generated_files"]) == expected(name)["files"]
    assert (proposal["failure"] is None) == (proposal["status"] == "completed")


@pytest.mark.parametrize("name", NAMES)
async def test_legacy_frames_are_those_of_the_recording(hub: RunningHub, name: str) -> None:
    async with hub.client() as client:
        started = await start(client, f"[[replay:{name}]]")
        await unattended(client, started)
    received = [frame async for frame in events("ws-legacy", hub, hub.token(), started["thread_id"], 0)]
    recorded = [json.loads(frame) for frame in frames(name)]
    assert [frame.pop("seq") for frame in received] == list(range(2, len(recorded) + 2))
    for frame in recorded:
        for file in frame["data"].get("files", {}).values():
            if isinstance(file["content"], str):
                file["content"] = file["content"].split("\n")
                file.pop("encoding", None)
    assert received == recorded


async def test_two_long_runs_at_the_same_time_stay_apart(hub: RunningHub) -> None:
    async with hub.client() as client:
        workflow = await a_workflow(client)
        one, two = await asyncio.gather(*(start(client, "[[replay:long_run]]", workflow) for _ in range(2)))
        proposals = await asyncio.gather(unattended(client, one), unattended(client, two))
    for proposal in proposals:
        assert proposal["status"] == "completed"
        assert facts_of(proposal["generated_files"]) == expected("long_run")["files"]
    threads = [started["thread_id"] for started in (one, two)]
    histories = [[e async for e in events("ws-json", hub, hub.token(), thread, 0)] for thread in threads]
    assert [event["seq"] for event in histories[0]] == list(range(1, 2260))
    for thread, history in zip(threads, histories, strict=True):
        assert history[0]["run_started"]["run_id"] == thread
    bare = [
        [{k: v for k, v in event.items() if k not in ("create_time", "run_started")} for event in history]
        for history in histories
    ]
    assert bare[0] == bare[1]


async def _stored_bytes(hub: RunningHub, thread_id: str) -> int:
    return int(
        await hub.core.pool.fetchval(
            "SELECT (SELECT sum(pg_column_size(e.*)) FROM events e WHERE e.thread_id = r.thread_id) "
            "+ pg_column_size(r.*) + pg_column_size(p.*) "
            "FROM runs r JOIN proposals p ON p.id = r.proposal_id WHERE r.thread_id = $1::uuid",
            thread_id,
        )
    )


async def _distinct_bytes(hub: RunningHub, thread_id: str) -> int:
    """Each file version, message and token, counted once."""
    size = 0
    seen: set[object] = set()
    for segment in await hub.core.journal.read_after(UUID(thread_id), 0, max_bytes=1 << 20):
        for event in segment.events():
            kind = CODEC.decode(event).kind
            if isinstance(kind, Token):
                size += len(kind.text.encode()) + sum(
                    len(call.name + call.id + call.arguments) for call in kind.tool_calls
                )
                if kind.message_id not in seen:
                    seen.add(kind.message_id)
                    size += len(kind.message_id)
            elif isinstance(kind, StateUpdate):
                for change in kind.files:
                    if change.file is not None:
                        size += len(change.path) + len(change.file.content)
                for changed in kind.messages:
                    message = changed.message
                    size += len(message.text.encode()) + sum(
                        len(call.name + call.id + call.arguments) for call in message.tool_calls
                    )
    return size


async def test_the_database_grows_with_what_changed_not_with_what_is_repeated(
    database: str, tmp_path: Path
) -> None:
    """A run that repeats 200 KB of files in 40 state frames takes no more than 3 times what is distinct."""
    texts = {f"/docs/{n}.md": base64.b64encode(bytes([n]) * 3).decode() + "x" * 5000 for n in range(40)}
    written: list[str] = []
    current: dict[str, Any] = {}
    for path, text in texts.items():
        current[path] = {"content": text, "encoding": "utf-8", "created_at": "2025-01-01T00:00:00+00:00"}
        written.append(
            json.dumps({"event_type": "on_state_update", "data": {"messages": "[]", "files": current}})
        )
    written.append('{"event_type":"end","data":{}}')
    (tmp_path / "growing.jsonl").write_text("\n".join(written) + "\n")
    async with running_hub(database, recordings=tmp_path) as hub, hub.client() as client:
        started = await start(client, "[[replay:growing]]")
        proposal = await unattended(client, started)
        await compacted(hub.core.pool, UUID(started["thread_id"]))
        stored = await _stored_bytes(hub, started["thread_id"])
    assert proposal["status"] == "completed"
    assert len("".join(written)) > 4_000_000
    assert stored <= 3 * sum(len(text) for text in texts.values())


async def test_a_long_run_takes_no_more_than_three_times_its_distinct_contents(hub: RunningHub) -> None:
    async with hub.client() as client:
        started = await start(client, "[[replay:long_run]]")
        await unattended(client, started)
    await hub.core.runner.wait(UUID(started["thread_id"]))
    await compacted(hub.core.pool, UUID(started["thread_id"]))
    stored = await _stored_bytes(hub, started["thread_id"])
    assert stored <= 3 * await _distinct_bytes(hub, started["thread_id"])


async def test_every_form_of_a_file_and_awkward_content_come_out_as_they_went_in(
    database: str, tmp_path: Path
) -> None:
    binary = bytes(range(256))
    files = {
        "/plain.md": "plain\ntext",
        "/lines.md": {"content": ["a", "b", ""], "created_at": "2025-01-01T00:00:00Z"},
        "/text.md": {"content": "é\r\n\u2028x\u0085", "encoding": "utf-8"},
        "/bare.md": {"content": "neither encoding nor times"},
        "/binary": {"content": base64.b64encode(binary).decode(), "encoding": "base64"},
        "/zero.md": {"content": "a\u0000b", "encoding": "utf-8"},
        "/empty.md": {"content": [""]},
        "/nothing.md": {"content": []},
        "/Case.md": "1",
        "/case.md": "2",
        "/sp ace's %#\"é.md": "odd",
        "/cafe\u0301.md": "nfd",
        "/caf\u00e9.md": "nfc",
    }
    frame = {"event_type": "on_state_update", "data": {"messages": "[]", "files": files}}
    lines = [json.dumps(frame, ensure_ascii=False), '{"event_type":"end","data":{}}']
    (tmp_path / "mixed.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    async with running_hub(database, recordings=tmp_path) as hub, hub.client() as client:
        started = await start(client, "[[replay:mixed]]")
        proposal = await unattended(client, started)
    assert proposal["status"] == "completed"
    contents = {path: content_of(file) for path, file in proposal["generated_files"].items()}
    assert contents == {
        "/plain.md": b"plain\ntext",
        "/lines.md": b"a\nb\n",
        "/text.md": "é\r\n\u2028x\u0085".encode(),
        "/bare.md": b"neither encoding nor times",
        "/binary": binary,
        "/zero.md": b"a\0b",
        "/empty.md": b"",
        "/nothing.md": b"",
        "/Case.md": b"1",
        "/sp ace's %#\"é.md": b"odd",
        "/caf\u00e9.md": b"nfc",
        "/cafe\u0301.md": b"nfd",
        "/case.md": b"2",
    }
    assert proposal["rejected_files"] == []
    marks = {path: file.get("portability") for path, file in proposal["generated_files"].items()}
    assert {path: mark for path, mark in marks.items() if mark} == {
        "/Case.md": ["collision"],
        "/case.md": ["collision"],
        "/caf\u00e9.md": ["collision"],
        "/cafe\u0301.md": ["collision", "not_normalized"],
        "/sp ace's %#\"é.md": ["reserved_character"],
    }


async def test_rejected_files_are_the_same_on_both_interfaces_and_the_events_have_them_all(
    database: str, tmp_path: Path
) -> None:
    paths = ["../../x", "/../y", "/a\u0000b", "/\ud800", "/" + "z" * 2000, "/kept?.md"]
    frame = {"event_type": "on_state_update", "data": {"files": dict.fromkeys(paths, "\ud800\u0000")}}
    lines = [json.dumps(frame), '{"event_type":"end","data":{}}']
    (tmp_path / "hostile.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    async with running_hub(database, recordings=tmp_path) as hub, hub.client() as client:
        started = await start(client, "[[replay:hostile]]")
        proposal = await unattended(client, started)
        page = await client.call("GET", f"/api/refinements/{started['thread_id']}/events?limit=1000")
        listed = (await client.call("GET", "/api/proposals"))["items"][0]
        async with grpc.aio.insecure_channel(hub.grpc) as channel:
            stub: Any = proposal_pb2_grpc.ProposalServiceStub(channel)
            metadata = (("authorization", f"Bearer {hub.token()}"),)
            answer = await stub.GetProposal(
                m.GetProposalRequest(proposal_id=started["proposal_id"]), metadata=metadata
            )
            (content,) = {each["sha256"] for each in proposal["rejected_files"]}
            request = m.ReadFileRequest(proposal_id=started["proposal_id"], sha256=content)
            pieces = [piece.data async for piece in stub.ReadFile(request, metadata=metadata)]
    assert (proposal["status"], proposal["file_count"]) == ("completed", 1)
    # JSON carries the text exactly; a message says where it could not.
    assert proposal["generated_files"] == {
        "/kept?.md": {
            "content": ["\ud800\u0000"],
            "sha256": content,
            "size_bytes": 4,
            "portability": ["reserved_character"],
        }
    }
    (kept,) = answer.proposal.generated_files
    assert (kept.path, kept.text, kept.sanitized) == ("/kept?.md", "\ufffd\u0000", True)
    assert (kept.sha256, kept.size_bytes, list(kept.portability)) == (content, 4, ["reserved_character"])
    assert b"".join(pieces) == "\ud800\u0000".encode("utf-8", "surrogatepass")
    rejected = [(each["path"], each["reason"]) for each in proposal["rejected_files"]]
    assert rejected == [
        ("../../x", "dot_segment"),
        ("/../y", "dot_segment"),
        ("/a\u0000b", "control_character"),
        ("/" + "z" * 1023, "too_long"),
        ("/\ud800", "lone_surrogate"),
    ]
    assert [
        (each.path, each.reason, each.sha256, each.size_bytes) for each in answer.proposal.rejected_files
    ] == [(path.replace("\ud800", "\ufffd"), reason, content, 4) for path, reason in rejected]
    assert (listed["generated_files"], listed["rejected_files"]) == (None, None)
    updates = [event["state_update"] for event in page["items"] if "state_update" in event]
    assert sum(len(update.get("files", ())) for update in updates) == len(paths)


async def test_a_frame_of_sixteen_mebibytes_goes_through_to_every_reader(
    database: str, tmp_path: Path
) -> None:
    large = "0123456789abcdef" * (1 << 20)
    lines = [
        json.dumps({"event_type": "on_state_update", "data": {"files": {"/large.txt": large[:-200]}}}),
        '{"event_type":"end","data":{}}',
    ]
    (tmp_path / "large.jsonl").write_text("\n".join(lines) + "\n")
    async with running_hub(database, recordings=tmp_path) as hub, hub.client() as client:
        started = await start(client, "[[replay:large]]")
        proposal = await unattended(client, started)
        typed = [e async for e in events("ws-json", hub, hub.token(), started["thread_id"], 0)]
        legacy = [e async for e in events("ws-legacy", hub, hub.token(), started["thread_id"], 0)]
    assert proposal["status"] == "completed"
    assert typed[1]["state_update"]["files"][0]["text"] == large[:-200]
    assert legacy[0]["data"]["files"]["/large.txt"]["content"] == [large[:-200]]
