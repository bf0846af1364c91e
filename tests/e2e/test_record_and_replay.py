"""`ideo record` and `ideo replay` with real hubs: what a run was is what its recording is."""

from __future__ import annotations

import asyncio
import json
import re
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from click.testing import CliRunner

from server.cli.hub_client import HubClient
from server.cli.main import main
from server.domain.runs.runtime import Invocation, StreamClosed
from server.replay.recording import SHIPPED
from server.runtime.client import DeepagentsRuntime
from tests.support.commands import Ideo
from tests.support.hub import RunningHub, finished, running_hub, start
from tests.support.processes import ROOT, clean_environment, running
from tests.support.recordings import content_of, frames
from tests.support.runtime import frames_of
from tests.support.terminals import in_terminal

#: What differs between two runs of the same frames.
OWN = ("create_time", "run_started", "input_answered")


@pytest_asyncio.fixture
async def hub(database: str) -> AsyncIterator[RunningHub]:
    async with running_hub(database, runtime_can_resume=True) as opened:
        yield opened


async def events_of(client: HubClient, thread_id: str) -> list[dict[str, Any]]:
    """The events of a thread, without what two runs do not share."""
    page = await client.call("GET", f"/api/refinements/{thread_id}/events?limit=1000")
    for event in page["items"]:
        for name in OWN:
            event.pop(name, None)
        event.get("input_requested", {}).pop("expire_time", None)
    found: list[dict[str, Any]] = page["items"]
    return found


async def answered(client: HubClient, started: dict[str, Any]) -> dict[str, Any]:
    """The proposal of a run whose agent gets what it asks for."""
    thread_id = started["thread_id"]
    async for event in client.follow(thread_id):
        if event.HasField("input_requested"):
            reply = {"seq": event.seq, "decisions": [{"decision": "approve"}]}
            await client.call("POST", f"/api/refinements/{thread_id}/reply", reply)
    proposal: dict[str, Any] = await client.call("GET", f"/api/proposals/{started['proposal_id']}")
    return proposal


@asynccontextmanager
async def replaying(file: Path, *options: str, stdin: int | None = None) -> AsyncIterator[Any]:
    """`ideo replay` of a file on a free port: its process, and the runtime's address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "server", "replay", str(file), "--port", "0", *options),
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=clean_environment({}),
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            name, _, address = (await process.stdout.readline()).decode().strip().partition(" ")
        assert name == "runtime"
        yield process, address
    finally:
        process.kill()
        await process.wait()


async def test_a_recorded_run_plays_again_with_its_answers(
    hub: RunningHub, ideo: Ideo, database: str, tmp_path: Path
) -> None:
    async with hub.client() as client:
        started = await start(client, "[[replay:approval]]")
        proposal = await answered(client, started)
        events = await events_of(client, started["thread_id"])
    file = tmp_path / "run.ndjson"
    code, output, messages = await ideo("record", started["thread_id"], "-o", str(file), "--json")
    assert (code, messages) == (0, "")
    parts = [file, tmp_path / "run.2.ndjson", tmp_path / "run.3.ndjson"]
    assert [json.loads(line)["file"] for line in output.splitlines()] == [str(part) for part in parts]
    assert [stat.S_IMODE(part.stat().st_mode) for part in parts] == [0o600] * 3
    assert [len(part.read_text().splitlines()) for part in parts] == [
        len(frames(name)) for name in ("approval", "approval.2", "approval.3")
    ]
    code, _, messages = await ideo("record", started["thread_id"], "-o", str(file))
    assert (code, messages) == (1, f"ideo: {file} exists already: choose another --output, or use --force\n")
    async with (
        replaying(file) as (_, address),
        running_hub(database, runtime_url=address, runtime_can_resume=True) as other,
        other.client() as client,
    ):
        again = await start(client, "anything")
        second = await answered(client, again)
        assert await events_of(client, again["thread_id"]) == events
    for path, content in proposal["generated_files"].items():
        assert content_of(second["generated_files"][path]) == content_of(content)


async def test_a_recording_replaces_an_earlier_one_with_all_its_parts_only_when_it_may(
    hub: RunningHub, ideo: Ideo, tmp_path: Path
) -> None:
    async with hub.client() as client:
        started = await start(client, "[[replay:short_run]]")
        await finished(client, started)
        waits = await start(client, "[[replay:short_run speed=20 silent=10]]")
        async for event in client.follow(waits["thread_id"]):
            if event.seq == 11:
                break
    file = tmp_path / "run.ndjson"
    (tmp_path / "run.2.ndjson").write_text("{}")
    file.write_text("{}")
    code, _, messages = await ideo("record", started["thread_id"], "-o", str(file), "--force")
    assert (code, messages) == (0, "")
    assert [json.loads(line) for line in file.read_text().splitlines()] == [
        json.loads(line) for line in frames("short_run")
    ]
    assert sorted(path.name for path in tmp_path.iterdir() if "run" in path.name) == ["run.ndjson"]
    open_run = tmp_path / "open.ndjson"
    code, output, messages = await ideo("record", waits["thread_id"], "-o", str(open_run), "--no-follow")
    assert (code, output) == (0, f"{open_run}  10 frames\n")
    assert "the run continues" in messages
    async with replaying(open_run) as (_, address), DeepagentsRuntime(address) as runtime:
        thread_id = await runtime.invoke(Invocation(uuid4(), uuid4(), {"a": 1}, {"messages": [1]}))
        state = await runtime.state(thread_id)
        assert state is not None
        assert state.status == "running"


async def test_a_recording_does_not_get_the_name_of_a_part_of_another_one(
    hub: RunningHub, ideo: Ideo, tmp_path: Path
) -> None:
    """With --force it would remove the parts after it."""
    async with hub.client() as client:
        started = await start(client, "[[replay:short_run]]")
        await finished(client, started)
    later = tmp_path / "release-1.3.ndjson"
    later.write_text("{}")
    file = tmp_path / "release-1.2.ndjson"
    code, output, messages = await ideo("record", started["thread_id"], "-o", str(file), "--force")
    assert (code, output) == (2, "")
    assert messages.startswith("ideo: release-1.2.ndjson is a name of what came after an answer")
    assert (later.read_text(), file.exists()) == ("{}", False)


async def test_a_recording_that_is_broken_off_leaves_no_file(hub: RunningHub, tmp_path: Path) -> None:
    async with hub.client() as client:
        started = await start(client, "[[replay:short_run silent=10]]")
    file = tmp_path / "run.ndjson"
    command = (sys.executable, "-m", "server", "record", started["thread_id"], "-o", str(file))
    async with in_terminal(*command, environment=hub.ideo_settings) as terminal:
        await terminal.shows("waiting for the end of the run")
        terminal.types("\x03")
        assert await terminal.ended() == 130
    assert list(tmp_path.iterdir()) == []


async def test_each_line_sends_one_frame_and_faults_come_where_they_are_asked_for() -> None:
    file = SHIPPED / "short_run.jsonl"
    expected = frames("short_run")
    faults = ("--fault", "drop@3", "--fault", "duplicate@2", "--fault", "cut@1", "--fault", "stall@4:0.01")
    async with (
        replaying(file, "--step", *faults, stdin=asyncio.subprocess.PIPE) as (process, address),
        DeepagentsRuntime(address) as runtime,
    ):
        thread_id = await runtime.invoke(Invocation(uuid4(), uuid4(), {"a": 1}, {"messages": [1]}))
        cut = expected[0].decode()
        cut_frame = cut[: len(cut) // 2].encode()
        async with frames_of(runtime, thread_id) as stream:
            for wanted in ([cut_frame], [expected[1]] * 2, [expected[2]]):
                waiting = asyncio.ensure_future(anext(stream))
                state = await runtime.state(thread_id)
                assert state is not None
                assert (waiting.done(), state.status) == (False, "running")
                process.stdin.write(b"\n")
                assert await waiting == wanted[0]
                for frame in wanted[1:]:
                    assert await anext(stream) == frame
            with pytest.raises(StreamClosed):
                await anext(stream)
        process.stdin.write(b"\n" * len(expected))
        async with frames_of(runtime, thread_id) as stream:
            found = [frame async for frame in stream]
        assert found == [cut_frame, expected[1], *expected[1:]]


async def test_a_key_in_a_terminal_sends_the_next_frame(tmp_path: Path) -> None:
    command = (
        sys.executable,
        "-m",
        "server",
        "replay",
        str(SHIPPED / "short_run.jsonl"),
        "--step",
        "--port=0",
    )
    async with in_terminal(*command, environment={}) as terminal:
        await terminal.shows("each key sends the next frame")
        await terminal.shows("IDEO_RUNTIME_CAN_RESUME")
        address = terminal.plain.partition("runtime ")[2].split()[0]
        async with DeepagentsRuntime(address) as runtime:
            thread_id = await runtime.invoke(Invocation(uuid4(), uuid4(), {"a": 1}, {"messages": [1]}))
            async with frames_of(runtime, thread_id) as stream:
                terminal.types("x")
                assert await anext(stream) == frames("short_run")[0]
        terminal.types("\x03")
        assert await terminal.ended() == 0


async def test_a_recording_is_shown_through_a_hub_of_its_own(database: str) -> None:
    settings = {"DATABASE_URL": database, "IDEO_HTTP_PORT": "0", "IDEO_GRPC_PORT": "0"}
    arguments = ("replay", str(SHIPPED / "error_mid_stream.jsonl"), "--hub", "--once")
    async with running(*arguments, environment=settings) as process:
        output = await process.output()
        assert "failed" in output
        assert await process.ended() == 1


@pytest.mark.parametrize(
    ("content", "options", "why"),
    [
        ("{\n", (), "line 1 of .* is not JSON"),
        ("{}\n", ("--fault", "fire@1"), "none of drop@K"),
        ("{}\n", ("--fault", "drop@0"), "must be a number above 0"),
        ("{}\n", ("--fault", "drop@1:2"), "none of drop@K"),
        ("{}\n", ("--fault", "drop@1", "--fault", "drop@2"), "is given twice"),
        ("{}\n", ("--once",), "--once works only with --hub"),
    ],
)
def test_a_mistake_is_named_in_a_line(
    tmp_path: Path, content: str, options: tuple[str, ...], why: str
) -> None:
    file = tmp_path / "run.ndjson"
    file.write_text(content)
    done = CliRunner().invoke(main, ["replay", str(file), *options])
    assert (done.exit_code, done.stdout) == (2, "")
    assert re.search(why, done.stderr)
