"""The hub as its users run it: real processes, killed and restarted."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from server.auth.secret_file import read_secret
from server.auth.tokens import SharedSecret
from server.cli.hub_client import HubClient, open_client
from tests.support.hub import finished, start
from tests.support.paced_runtime import PacedRuntime
from tests.support.processes import forked, hub_environment, replay_process, running
from tests.support.recordings import expected, facts_of
from tests.support.runtime import serve_runtime
from tests.support.tokens import SECRET, token


async def events_of(client: HubClient, thread_id: str, after: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async for message in client.messages(thread_id, after):
        found.extend(message.get("batch", {}).get("events", ()))
    return found


async def first_events(client: HubClient, thread_id: str, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async for message in client.messages(thread_id):
        found.extend(message.get("batch", {}).get("events", ()))
        if len(found) >= count:
            return found
    return found


@pytest.mark.parametrize("profile", ["full", "none"])
async def test_a_run_survives_kill_9_of_the_hub_with_its_files(database: str, profile: str) -> None:
    runtime = PacedRuntime("short_run", 0.5)
    async with serve_runtime(runtime) as url:
        environment = hub_environment(database, url, IDEO_RUNTIME_PROFILE=profile)
        async with running("serve", environment=environment) as hub:
            await hub.serving("HTTP", "gRPC")
            async with open_client(hub.addresses["HTTP"], token()) as client:
                started = await start(client, "go on")
                before = await first_events(client, started["thread_id"], 20)
            await hub.kill()
        runtime.release(1)
        async with forked("serve", environment=environment) as hub:
            await hub.serving("HTTP", "gRPC")
            async with open_client(hub.addresses["HTTP"], token()) as client:
                after = await events_of(client, started["thread_id"], before[-1]["seq"])
                again = await events_of(client, started["thread_id"])
                proposal = await client.call("GET", f"/api/proposals/{started['proposal_id']}")
            code = await hub.stop()
    assert proposal["status"] == "completed"
    assert facts_of(proposal["generated_files"]) == expected("short_run")["files"]
    assert before + after == again
    assert [event["seq"] for event in again] == list(range(1, len(again) + 1))
    marks = [event for event in again if "discontinuity" in event]
    if profile == "full":
        assert (len(again), marks) == (52, [])
    else:
        assert len(marks) == 1
    assert code == 0


async def test_a_run_goes_on_when_the_hub_is_stopped_and_started(database: str) -> None:
    runtime = PacedRuntime("short_run", 0.5)
    async with serve_runtime(runtime) as url:
        environment = hub_environment(database, url, IDEO_RUNTIME_PROFILE="full", IDEO_LEASE_TTL_S="600")
        async with running("serve", environment=environment) as hub:
            await hub.serving("HTTP", "gRPC")
            async with open_client(hub.addresses["HTTP"], token()) as client:
                started = await start(client, "go on")
                await first_events(client, started["thread_id"], 10)
            assert await hub.stop() == 0
        runtime.release(1)
        async with forked("serve", environment=environment) as hub:
            await hub.serving("HTTP", "gRPC")
            async with open_client(hub.addresses["HTTP"], token()) as client:
                # The lease lasts ten minutes: only a hand-over lets the run go on at once.
                async with asyncio.timeout(60):
                    proposal = await finished(client, started)
    assert proposal["status"] == "completed"
    assert facts_of(proposal["generated_files"]) == expected("short_run")["files"]


async def test_two_replicas_serve_each_others_runs(database: str) -> None:
    async with replay_process() as runtime:
        environment = hub_environment(database, runtime, IDEO_RUNTIME_PROFILE="full")
        async with (
            running("serve", environment=environment) as one,
            forked("serve", environment=environment) as other,
        ):
            await one.serving("HTTP", "gRPC")
            await other.serving("HTTP", "gRPC")
            async with (
                open_client(one.addresses["HTTP"], token()) as here,
                open_client(other.addresses["HTTP"], token()) as there,
            ):
                started = await start(here, "[[replay:short_run speed=5]]")
                histories = await asyncio.gather(
                    events_of(here, started["thread_id"]), events_of(there, started["thread_id"])
                )
    assert histories[0] == histories[1]
    assert len(histories[0]) == 52


async def command(*arguments: str, environment: dict[str, str], cwd: Path | None = None) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "server",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path.cwd()), **environment},
        cwd=cwd,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_ideo_dev_once_shows_a_completed_proposal_and_leaves_nothing_running(tmp_path: Path) -> None:
    data = tmp_path / "data"
    environment = {"IDEO_DATA_DIR": str(data), "IDEO_HTTP_PORT": "0", "IDEO_GRPC_PORT": "0"}
    code, output = await command("token", "--user", "ann@example.com", environment=environment)
    assert code == 2
    assert "IDEO_JWT_SECRET" in output
    assert not data.exists()
    keys = set()
    for _ in range(2):
        code, output = await command("dev", "--once", environment=environment)
        assert code == 0, output
        keys.add(read_secret(data))
        assert not any(key in output for key in keys)
        assert "completed" in output
        assert "http://" not in output
        assert "IDEO_TOKEN" not in output
        assert "/THE_SPEC/constitution.md" in output
        assert not list(data.rglob("postmaster.pid"))
    # A restart keeps the key, and with it every token; `ideo token` issues others for the same hub.
    (key,) = keys
    code, issued = await command("token", "--user", "ann@example.com", environment=environment)
    assert code == 0
    assert (await SharedSecret(key).verify(issued.strip())).email == "ann@example.com"


async def test_wrong_settings_are_all_named_at_once() -> None:
    environment = {"IDEO_HTTP_PORT": "many", "DATABASE_URL": "mysql://x", "IDEO_JWT_SECRET": "short"}
    code, output = await command("serve", environment=environment)
    assert code == 2
    for name in ("IDEO_HTTP_PORT", "DATABASE_URL", "IDEO_JWT_SECRET", "DEEPAGENTS_RUNTIME_URL"):
        assert name in output
    assert "short" not in output.replace("short a", "")


async def test_serving_without_a_key_says_which_setting_is_missing(database: str) -> None:
    environment = hub_environment(database, "http://127.0.0.1:9")
    del environment["IDEO_JWT_SECRET"]
    for env in ("dev", "prod"):
        code, output = await command("serve", environment={**environment, "IDEO_ENV": env})
        assert code == 2
        names = ("IDEO_JWKS_URL", "IDEO_JWT_ISSUER", "IDEO_JWT_AUDIENCE")
        for name in names if env == "prod" else ("IDEO_JWKS_URL", "IDEO_JWT_SECRET"):
            assert name in output
        assert "Traceback" not in output


async def test_serving_on_a_database_without_the_schema_says_what_to_do(empty_database: str) -> None:
    environment = hub_environment(empty_database, "http://127.0.0.1:9")
    code, output = await command("serve", environment=environment)
    assert code == 1
    assert "ideo migrate up" in output
    assert (await command("migrate", "up", environment=environment))[0] == 0
    code, output = await command("migrate", "status", environment=environment)
    assert code == 0
    assert "missing" not in output


async def test_a_taken_port_fails_loudly(database: str) -> None:
    async with replay_process() as runtime:
        environment = hub_environment(database, runtime)
        async with running("serve", environment=environment) as hub:
            await hub.serving("HTTP", "gRPC")
            for name, setting in (("HTTP", "IDEO_HTTP_PORT"), ("gRPC", "IDEO_GRPC_PORT")):
                port = hub.addresses[name].rpartition(":")[2]
                code, output = await command("serve", environment={**environment, setting: port})
                assert code == 1, output
                assert port in output or "in use" in output


async def test_tokens_for_development_are_made_on_the_command_line() -> None:
    arguments = ("token", "--user", "ann@example.com", "--ttl", "5m")
    code, output = await command(*arguments, environment={"IDEO_JWT_SECRET": SECRET})
    assert code == 0
    principal = await SharedSecret(SECRET).verify(output.strip())
    assert principal.email == "ann@example.com"
    assert (await command("token", "--user", "x", environment={"IDEO_JWT_SECRET": SECRET}))[0] == 2
    assert (
        await command("token", "--user", "a@b.c", "--ttl", "soon", environment={"IDEO_JWT_SECRET": SECRET})
    )[0] == 2
