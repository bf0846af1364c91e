"""The quarantine over every interface: what operators see, read and release, and what it costs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import grpc.aio
import httpx
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from ide_orchestrator.conformance.callers import PROTOCOLS, caller, open_channel
from ide_orchestrator.conformance.target import Target
from ide_orchestrator.v1.quarantine_pb2_grpc import QuarantineServiceStub
from server.compiled.spliced import SplicingInterpreter
from server.db.quarantine import PostgresQuarantineStore
from server.domain.errors import LimitReached
from server.domain.quarantine.quarantine import Quarantine, Scanned
from server.domain.quarantine.shapes import MAX_STRUCTURE_CHARS, MAX_TYPE_CHARS
from server.wire import messages as m
from server.wire.codec import ProtobufCodec
from tests.integration.test_quarantine import EarlierInterpreter, OpenRuntime, new
from tests.support.commands import Commands, Ideo
from tests.support.hub import RunningHub, finished, running_hub, start
from tests.support.recordings import ODD_TEXT, write_odd_recording
from tests.support.runtime import END, SILENCE, files_frame, serve_runtime, token_frame

OPERATOR = "root@example.com"
LARGE = json.dumps({"event_type": "large", "data": {"text": "x" * 5_000_000}})


@pytest_asyncio.fixture
async def hub(database: str, tmp_path: Path) -> AsyncIterator[RunningHub]:
    write_odd_recording(tmp_path)
    kept = [
        files_frame(a="1"),
        new(files_frame(a="1", b="2")),
        new(token_frame("Hello")),
        files_frame(a="1"),
        END,
    ]
    (tmp_path / "kept.jsonl").write_text("".join(f"{json.dumps(frame)}\n" for frame in kept))
    (tmp_path / "large.jsonl").write_text(f"{LARGE}\n{json.dumps(files_frame(a='1'))}\n{json.dumps(END)}\n")
    async with running_hub(database, recordings=tmp_path, operators=(OPERATOR,)) as running:
        yield running


@pytest_asyncio.fixture
async def http(hub: RunningHub) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {hub.token(OPERATOR)}"}
    async with httpx.AsyncClient(base_url=hub.http, headers=headers, timeout=60, trust_env=False) as client:
        yield client


async def run(hub: RunningHub, recording: str, *, earlier: bool = False) -> str:
    """The thread of a run that has ended. earlier: an earlier release follows it."""
    runner = hub.core.runner
    present = runner.context
    if earlier:
        runner.context = replace(present, interpreter=EarlierInterpreter)
    try:
        async with hub.client() as client:
            started = await start(client, f"[[replay:{recording}]]")
            await finished(client, started)
    finally:
        runner.context = present
    return str(started["thread_id"])


async def shapes(http: httpx.AsyncClient, **query: Any) -> dict[str, dict[str, Any]]:
    """The shapes by their event types."""
    answer = (await http.get("/api/quarantine/shapes", params=query)).raise_for_status()
    return {shape["event_type"]: shape for shape in answer.json()["items"]}


def target(hub: RunningHub) -> Target:
    return Target(hub.http, hub.token(OPERATOR), hub.grpc)


async def test_nothing_that_is_listed_has_a_text_of_a_frame_and_the_frame_itself_has(
    hub: RunningHub, http: httpx.AsyncClient
) -> None:
    thread = await run(hub, "odd")
    shape = (await shapes(http))["thought"]["id"]
    base = f"/api/quarantine/shapes/{shape}"
    answers = [
        await http.get("/api/quarantine/shapes?include_released=true"),
        await http.get(base),
        await http.get(f"{base}/frames"),
        await http.post(f"{base}/release", json={}),
        await http.post("/api/quarantine/scan"),
    ]
    assert {answer.status_code for answer in answers} == {200}
    texts = [answer.text for answer in answers]
    async with grpc.aio.insecure_channel(hub.grpc) as channel:
        stub: Any = QuarantineServiceStub(channel)
        metadata = target(hub).metadata
        for answer in (
            await stub.ListQuarantinedShapes(m.ListQuarantinedShapesRequest(), metadata=metadata),
            await stub.ListQuarantinedFrames(
                m.ListQuarantinedFramesRequest(shape_id=shape), metadata=metadata
            ),
            await stub.ReleaseQuarantinedShape(
                m.ReleaseQuarantinedShapeRequest(shape_id=shape), metadata=metadata
            ),
        ):
            assert answer.ByteSize()
            texts.append(str(answer))
    assert not [text for text in texts if ODD_TEXT in text]
    frame = await http.get(f"/api/quarantine/frames/{thread}?seq=2")
    assert frame.json() == {"event_type": "thought", "data": {"text": ODD_TEXT, "level": 1}}
    assert frame.headers["content-type"] == "application/octet-stream"
    assert frame.headers["content-disposition"] == "attachment"


async def test_only_frames_in_quarantine_are_read(hub: RunningHub, http: httpx.AsyncClient) -> None:
    thread = await run(hub, "odd")
    for place in (f"{thread}?seq=1", f"{thread}?seq=5", f"{thread}?seq=99", f"{uuid4()}?seq=2"):
        answer = await http.get(f"/api/quarantine/frames/{place}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), place
    for wrong in ("", "?seq=", "?seq=-1", "?seq=4294967296", "?seq=x"):
        answer = await http.get(f"/api/quarantine/frames/{thread}{wrong}")
        assert (answer.status_code, [*answer.json()["fields"]]) == (400, ["seq"]), wrong
    assert (await http.get(f"/api/quarantine/frames/{thread}?seq=0")).status_code == 404
    assert (await http.get(f"/api/quarantine/frames/{thread}?seq=4294967295")).status_code == 404


async def test_a_large_frame_is_read_whole_and_from_any_offset_with_default_limits_on_every_interface(
    hub: RunningHub, http: httpx.AsyncClient
) -> None:
    thread = await run(hub, "large")
    expected = LARGE.encode()
    assert (await http.get(f"/api/quarantine/frames/{thread}?seq=2")).content == expected
    metadata = target(hub).metadata
    for interface in PROTOCOLS[1:]:
        async with open_channel(interface, replace(target(hub), grpc=hub.grpc)) as channel:
            stub: Any = QuarantineServiceStub(channel)
            for offset in (0, 1, 4_999_999, len(expected)):
                request = m.ReadQuarantinedFrameRequest(thread_id=thread, seq=2, offset=offset)
                pieces = [piece async for piece in stub.ReadQuarantinedFrame(request, metadata=metadata)]
                assert b"".join(piece.data for piece in pieces) == expected[offset:], (interface, offset)
                assert {piece.size_bytes for piece in pieces} == {len(expected)}
                assert max(len(piece.data) for piece in pieces) <= 1 << 20
    # What grpc takes by default, and not what the callers above take.
    async with grpc.aio.insecure_channel(hub.grpc) as channel:
        stub = QuarantineServiceStub(channel)
        request = m.ReadQuarantinedFrameRequest(thread_id=thread, seq=2)
        assert sum([len(piece.data) async for piece in stub.ReadQuarantinedFrame(request, metadata=metadata)])
        request.offset = len(expected) + 1
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            async for _ in stub.ReadQuarantinedFrame(request, metadata=metadata):
                pass
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_release_reports_what_frames_of_ended_runs_mean_once_on_every_interface(
    hub: RunningHub, http: httpx.AsyncClient
) -> None:
    for number, interface in enumerate(PROTOCOLS, 1):
        await run(hub, "kept", earlier=True)
        reports = []
        async with caller(interface, target(hub)) as call:
            for shape in (await shapes(http)).values():
                given = {"shape_id": shape["id"]}
                released = (await call("release_quarantined_shape", given)).value
                assert released["requested"] == 0
                reports += released["reports"]
                assert (await call("release_quarantined_shape", given)).value["reports"] == []
        assert sorted(reports) == [[3, True, "state"], [4, True, "token"]], interface
        assert await shapes(http) == {}
        released = await shapes(http, include_released="true")
        assert {shape["reported_count"] for shape in released.values()} == {number}


async def test_pages_of_a_release_and_a_scan_end_after_so_many_bytes_and_miss_nothing(
    hub: RunningHub, http: httpx.AsyncClient
) -> None:
    threads = sorted([await run(hub, "odd") for _ in range(3)])
    shape = (await shapes(http))["thought"]["id"]
    store = PostgresQuarantineStore(hub.core.pool)
    quarantine = Quarantine(store, hub.core.journal, ProtobufCodec(), SplicingInterpreter, max_page_bytes=1)
    pages, token = [], None
    while True:
        released = await quarantine.release(shape, limit=100, token=token)
        pages.append([(str(each.frame.thread_id), each.frame.seq) for each in released.reports])
        token = released.next_token
        if token is None:
            break
    assert pages == [[(thread, 2), (thread, 3)] for thread in threads]
    # A page that is full ends, too.
    first = await quarantine.release(shape, limit=3)
    assert len(first.reports) == 2
    await hub.core.pool.execute("DELETE FROM quarantined_frames")
    scans: list[Scanned] = []
    while not scans or scans[-1].next_token is not None:
        scans.append(await quarantine.scan(scans[-1].next_token if scans else None))
    assert sum(scan.added for scan in scans) == 9
    assert len(scans) > 3


async def test_a_replica_does_one_release_or_scan_at_a_time(hub: RunningHub, http: httpx.AsyncClient) -> None:
    await run(hub, "odd")
    shape = (await shapes(http))["thought"]["id"]
    quarantine = hub.core.quarantine
    outcomes = await asyncio.gather(
        quarantine.release(shape, limit=10), quarantine.scan(), return_exceptions=True
    )
    assert isinstance(outcomes[1], LimitReached)
    assert len(outcomes[0].reports) == 2
    assert (await quarantine.scan()).added == 0


async def test_a_page_of_the_largest_shapes_is_read_with_default_limits(
    hub: RunningHub, http: httpx.AsyncClient
) -> None:
    await hub.core.pool.executemany(
        "INSERT INTO quarantined_frames (thread_id, seq, shape_id, reason, event_type, structure, size_bytes)"
        " VALUES ($1, 2, $2, 'unknown_type', $3, $4, 1)",
        [
            (UUID(int=number), f"{number:016x}", "t" * MAX_TYPE_CHARS, "…" * MAX_STRUCTURE_CHARS)
            for number in range(201)
        ],
    )
    found: list[str] = []
    async with grpc.aio.insecure_channel(hub.grpc) as channel:
        stub: Any = QuarantineServiceStub(channel)
        request = m.ListQuarantinedShapesRequest(page_size=200)
        while True:
            page = await stub.ListQuarantinedShapes(request, metadata=target(hub).metadata)
            found += [shape.id for shape in page.shapes]
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
    assert sorted(found) == [f"{number:016x}" for number in range(201)]
    answer = await http.get("/api/quarantine/shapes?limit=200")
    assert len(answer.content) < 3 << 20
    assert 'rel="next"' in answer.headers["link"]


async def test_each_call_of_an_operator_is_logged_with_its_method_and_the_callers_id(
    hub: RunningHub, http: httpx.AsyncClient
) -> None:
    thread = await run(hub, "odd")
    with capture_logs() as entries:
        await http.get(f"/api/quarantine/frames/{thread}?seq=2")
        for interface in ("grpc", "connect-json"):
            async with caller(interface, target(hub)) as call:
                await call("scan_quarantine", {})
        async with httpx.AsyncClient(base_url=hub.http, trust_env=False, timeout=60) as ann:
            headers = {"Authorization": f"Bearer {hub.token()}"}
            refused = await ann.get("/api/quarantine/shapes", headers=headers)
    assert refused.json()["code"] == "permission_denied"
    assert "IDEO_OPERATORS" in refused.json()["detail"]
    user_id = await hub.core.pool.fetchval("SELECT id::text FROM users WHERE email = $1", OPERATOR)
    calls = [(each["operation"], each["user_id"]) for each in entries if each["event"] == "operator_call"]
    assert calls == [
        ("ReadQuarantinedFrame", user_id),
        ("ScanQuarantine", user_id),
        ("ScanQuarantine", user_id),
    ]
    assert ODD_TEXT not in str(entries)


async def test_without_a_setting_nobody_is_an_operator(database: str) -> None:
    async with running_hub(database) as hub:
        for email in ("ann@example.com", OPERATOR):
            async with hub.client(email) as client, httpx.AsyncClient(trust_env=False, timeout=60) as http:
                await client.call("GET", "/api/me")
                headers = {"Authorization": f"Bearer {hub.token(email)}"}
                answer = await http.get(f"{hub.http}/api/quarantine/shapes", headers=headers)
                assert answer.status_code == 403


# --- By command line -------------------------------------------------------------------------


def beside(database: str) -> Ideo:
    return Commands({"DATABASE_URL": database}).ideo


def over(hub: RunningHub, email: str = OPERATOR) -> Ideo:
    return Commands({"IDEO_URL": hub.http, "IDEO_TOKEN": hub.token(email)}).ideo


async def test_commands_print_the_same_beside_the_database_and_by_calls_of_the_hub(
    database: str, hub: RunningHub, http: httpx.AsyncClient
) -> None:
    await run(hub, "odd")
    shape = (await shapes(http))["thought"]["id"]
    for command in (
        ("ls",),
        ("ls", "--all", "--limit", "1", "--json"),
        ("show", shape),
        ("show", shape, "--json"),
        ("show", shape, "--content"),
        ("release", shape),
        ("release", shape, "--json"),
        ("scan",),
        ("show", "0" * 16),
    ):
        found = await beside(database)("quarantine", *command)
        called = await over(hub)("quarantine", *command)
        if command[0] == "show" and command[1] == "0" * 16:
            # The hub's status comes first.
            assert (found[0], called[0]) == (1, 1)
            assert "ideo quarantine ls" in found[2]
            assert "ideo quarantine ls" in called[2]
        else:
            assert called == found, command
            assert found[1]


async def test_a_command_with_an_address_calls_the_hub_although_there_is_a_database(
    database: str, hub: RunningHub
) -> None:
    code, _, messages = await Commands({"DATABASE_URL": database}).ideo(
        "quarantine", "ls", "--url", hub.http, "--token", hub.token()
    )
    assert code == 4
    assert "only operators" in messages


async def test_a_release_by_calls_of_the_hub_waits_until_the_owners_of_open_runs_have_journalled_it(
    database: str,
) -> None:
    runtime = OpenRuntime(files_frame(a="1"), new(files_frame(a="1", b="2")), SILENCE)
    settings: dict[str, Any] = {"operators": (OPERATOR,), "lease_ttl_s": 2.0, "run_idle_s": 600.0}
    async with serve_runtime(runtime) as url:
        async with running_hub(database, runtime_url=url, **settings) as hub:
            context = hub.core.runner.context
            hub.core.runner.context = replace(context, interpreter=EarlierInterpreter)
            async with hub.client() as client:
                started = await start(client, "go on")
                async for event in client.follow(started["thread_id"]):
                    if event.seq == 3:
                        break
        async with running_hub(database, runtime_url=url, **settings) as hub:
            ideo = over(hub)
            _, output, _ = await ideo("quarantine", "ls", "--json")
            shape = json.loads(output)["id"]
            code, output, messages = await ideo("quarantine", "release", shape)
            assert (code, messages) == (0, "")
            assert "0 of 1 frames wait, 1 journalled" in output
            _, output, _ = await ideo("quarantine", "show", shape)
            assert "journalled as 4" in output
