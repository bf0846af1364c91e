"""`ideo` in a person's terminal: Ctrl-C, pipes, encodings, a hub and a runtime that say no."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from server.cli.hub_client import open_client
from tests.support.hub import finished, start
from tests.support.paced_runtime import PacedRuntime
from tests.support.postgres import Postgres
from tests.support.processes import Process, forked, hub_environment, replay_process, running
from tests.support.runtime import serve_runtime
from tests.support.servers import answer, free_port, http_server, tcp_server
from tests.support.terminals import CTRL_C, in_shell, in_terminal
from tests.support.tokens import token

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROMPT = "[[replay:short_run]]"


def dev(folder: Path, **more: str) -> dict[str, str]:
    return {"IDEO_DATA_DIR": str(folder), "IDEO_HTTP_PORT": "0", "IDEO_GRPC_PORT": "0", **more}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def hub(postgres: Postgres) -> AsyncIterator[Process]:
    async with (
        postgres.fresh(migrated=True) as database,
        replay_process() as runtime,
        forked("serve", environment=hub_environment(database, runtime)) as process,
    ):
        await process.serving("HTTP", "gRPC")
        yield process


def client_of(hub: Process, **more: str) -> dict[str, str]:
    return {"IDEO_URL": hub.addresses["HTTP"], "IDEO_TOKEN": token(), **more}


async def started(hub: Process, prompt: str = PROMPT, *, until_finished: bool = True) -> str:
    """A thread of the hub."""
    async with open_client(hub.addresses["HTTP"], token()) as client:
        run = await start(client, prompt)
        if until_finished:
            await finished(client, run)
    return str(run["thread_id"])


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.5, 1.5])
async def test_ctrl_c_at_any_moment_of_a_start_ends_it_without_a_word(tmp_path: Path, seconds: float) -> None:
    async with in_terminal("ideo", "dev", environment=dev(tmp_path)) as terminal:
        await terminal.shows("Loading")  # what comes before is the interpreter's
        await asyncio.sleep(seconds)  # the moment is what is tried
        terminal.types(CTRL_C)
        assert await terminal.ended() in (0, 130, -2)
        assert "Traceback" not in terminal.text
        assert "ideo: " not in terminal.text
    assert not [*tmp_path.rglob("postmaster.pid")]


async def test_ctrl_c_shows_the_command_that_continues_without_a_gap(database: str) -> None:
    runtime = PacedRuntime("short_run", 0.5)
    async with (
        serve_runtime(runtime) as url,
        forked("serve", environment=hub_environment(database, url)) as hub,
    ):
        await hub.serving("HTTP", "gRPC")
        thread = await started(hub, "go on", until_finished=False)
        async with in_terminal("ideo", "watch", thread, environment=client_of(hub)) as watch:
            await watch.shows("calls write_todos")
            watch.types(CTRL_C)
            assert await watch.ended() == 130
        assert "Traceback" not in watch.text
        [command] = re.findall(r"continue with: (ideo watch .*--after [0-9]+)", watch.plain)
        after = int(shlex.split(command)[-1])
        assert after >= 12
        runtime.release(1)
        code, output, _ = await in_shell(f"{command} --json", environment=client_of(hub))
    assert code == 0
    assert [json.loads(line)["seq"] for line in output.splitlines()] == list(range(after + 1, 53))


@pytest.mark.parametrize(
    "line",
    [
        "ideo watch {} --json | head -2",
        "ideo watch {} | head -2",
        "ideo watch {} --json | true",
        "ideo --help | head -1",
    ],
)
async def test_a_pipe_whose_reader_has_gone_is_not_an_error(hub: Process, line: str) -> None:
    thread = await started(hub)
    code, output, errors = await in_shell(line.format(thread), environment=client_of(hub))
    assert (code, errors) == (0, "")
    assert len(output.splitlines()) <= 2


@pytest.mark.parametrize(
    "settings",
    [
        {"LANG": "C", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "ascii"},
    ],
)
async def test_a_terminal_without_utf_8_shows_escapes(settings: dict[str, str]) -> None:
    folder = Path("/dev/null/grün")
    code, output, errors = await in_shell("ideo dev --no-demo", environment=dev(folder, **settings))
    assert code == 1
    assert "Traceback" not in errors
    assert "gr\\" in errors
    assert output.isascii()
    assert errors.isascii()


@asynccontextmanager
async def refusing(port: int, *, times: int) -> AsyncIterator[None]:
    """Cut so many connections to a port before the block begins."""
    left, done = times, asyncio.Event()

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            done.set()

    async with tcp_server(cut, port):
        await done.wait()
        yield


async def test_a_hub_that_goes_away_is_named_once_for_each_outage_and_the_stream_continues(
    database: str,
) -> None:
    runtime = PacedRuntime("short_run", 0.5)
    async with serve_runtime(runtime) as url:
        environment = hub_environment(
            database, url, IDEO_RUNTIME_PROFILE="full", IDEO_HTTP_PORT=str(free_port())
        )
        async with forked("serve", environment=environment) as first:
            await first.serving("HTTP", "gRPC")
            thread = await started(first, "go on", until_finished=False)
            async with in_terminal("ideo", "watch", thread, environment=client_of(first)) as watch:
                await watch.shows("calls write_todos")
                await first.kill()
                await watch.shows("trying again")
                # Two connections more, which fail and say nothing.
                async with refusing(int(environment["IDEO_HTTP_PORT"]), times=2):
                    pass
                runtime.release(1)
                async with forked("serve", environment=environment) as second:
                    await second.serving("HTTP", "gRPC")
                    await watch.shows("completed, 2 files")
                    assert await watch.ended() == 0
    seqs = [int(seq) for seq in re.findall(r"^ +([0-9]+) ", watch.plain, re.MULTILINE)]
    assert seqs == sorted(seqs)
    assert watch.plain.count("trying again") == 1


# --- A runtime of one's own ----------------------------------------------------------------------


async def test_dev_with_a_runtime_of_ones_own_serves_whatever_becomes_of_the_demo(tmp_path: Path) -> None:
    bodies: list[bytes] = []

    async def refuse(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bytes:
        bodies.append(body)
        return answer(401, b'{"detail": "missing OPENAI_API_KEY"}')

    async with http_server(refuse) as runtime:
        environment = dev(tmp_path, DEEPAGENTS_RUNTIME_URL=runtime)
        async with in_terminal("ideo", "dev", environment=environment) as quiet:
            await quiet.shows("Ctrl-C to stop everything")
            assert "A refinement:" not in quiet.text
            assert bodies == []
            quiet.types(CTRL_C)
            await quiet.shows("Stopping")
            assert await quiet.ended() == 0
        async with in_terminal("ideo", "dev", "--demo", environment=environment) as shown:
            await shown.shows("Ctrl-C to stop everything")
            assert shown.text.index("export IDEO_URL") < shown.text.index("A refinement:")
            assert "the demo refinement failed: " in shown.text
            shown.types(CTRL_C)
            assert await shown.ended() == 0
        code, _, errors = await in_shell("ideo dev --once", environment=environment)
        assert code == 1
        assert "the demo refinement failed: " in errors
    assert bodies
    assert not any(b"[[replay" in body for body in bodies)


async def test_the_demo_runs_in_a_workflow_of_its_own_and_can_be_left_out(tmp_path: Path) -> None:
    async with running("dev", "--no-demo", environment=dev(tmp_path)) as process:
        await process.serving("HTTP", "gRPC", "export")
        assigned = dict(part.split("=", 1) for part in process.addresses["export"].split())
        async with open_client(process.addresses["HTTP"].strip(), assigned["IDEO_TOKEN"]) as client:
            assert (await client.call("GET", "/api/proposals"))["items"] == []
            mine = await client.call("POST", "/api/workflows", {"name": "mine", "files": {}})
        assert await process.stop() == 0
    async with running("dev", environment=dev(tmp_path)) as process:
        await process.serving("HTTP", "gRPC", "export", "Press")
        assigned = dict(part.split("=", 1) for part in process.addresses["export"].split())
        async with open_client(process.addresses["HTTP"].strip(), assigned["IDEO_TOKEN"]) as client:
            [proposal] = (await client.call("GET", "/api/proposals"))["items"]
            assert proposal["workflow_id"] != mine["id"]
        assert await process.stop() == 0
