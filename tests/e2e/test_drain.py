"""A replica that stops: another one continues its runs at once, and no reader loses anything."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any

import httpx
import pytest

from server.cli.hub_client import HubClient, open_client
from tests.support.hand_clock import until
from tests.support.hub import start
from tests.support.paced_runtime import PacedRuntime
from tests.support.processes import forked, hub_environment, running
from tests.support.recordings import expected, facts_of
from tests.support.runtime import serve_runtime
from tests.support.servers import free_port
from tests.support.tokens import token


async def read_until(
    client: HubClient, thread_id: str, kind: str, begun: asyncio.Event | None = None
) -> list[dict[str, Any]]:
    """The stream's messages up to the first of the kind, or to the end. Sets `begun` at the first event."""
    found: list[dict[str, Any]] = []
    async for message in client.messages(thread_id):
        found.append(message)
        if begun is not None and "batch" in message:
            begun.set()
        if kind in message:
            break
    return found


def seqs(messages: list[dict[str, Any]]) -> list[int]:
    return [event["seq"] for message in messages for event in message.get("batch", {}).get("events", ())]


async def draining(probe: httpx.AsyncClient, address: str) -> httpx.Response:
    """The answer about the readiness of a hub that was asked to stop, once it says that it drains."""
    async with asyncio.timeout(60):
        while True:
            ready = await probe.get(f"{address}/readyz")
            if "draining" in ready.text:
                return ready
            await asyncio.sleep(0.02)


async def test_a_stopping_replica_hands_runs_over_and_sends_its_readers_away(database: str) -> None:
    runtime = PacedRuntime("short_run", 0.3)
    async with serve_runtime(runtime) as url:
        environment = hub_environment(
            database, url, IDEO_RUNTIME_PROFILE="full", IDEO_LEASE_TTL_S="600", IDEO_DRAIN_S="30"
        )
        async with (
            forked("serve", environment=environment) as leaving,
            forked("serve", environment=environment) as staying,
        ):
            await leaving.serving("HTTP", "gRPC")
            await staying.serving("HTTP", "gRPC")
            async with (
                open_client(leaving.addresses["HTTP"], token()) as here,
                open_client(staying.addresses["HTTP"], token()) as there,
                httpx.AsyncClient(timeout=60) as probe,
            ):
                started = await start(here, "go on")
                read, begun = started["thread_id"], (asyncio.Event(), asyncio.Event())
                reading = asyncio.create_task(read_until(here, read, "reconnect", begun[0]))
                # It keeps the replica open until it is cancelled.
                lingering = asyncio.create_task(read_until(here, read, "nothing", begun[1]))
                async with asyncio.timeout(60):
                    await asyncio.gather(*(each.wait() for each in begun))
                stopping = asyncio.create_task(leaving.stop())
                # Before all of its readers have left: then it ends.
                ready = await draining(probe, leaving.addresses["HTTP"])
                workflow = "00000000-0000-4000-8000-000000000000"
                refused = await probe.post(
                    f"{leaving.addresses['HTTP']}/api/workflows/{workflow}/refinements",
                    json={"user_prompt": "x"},
                    headers={"Authorization": f"Bearer {token()}"},
                )
                assert (ready.status_code, refused.status_code) == (503, 503)
                seen = await reading
                assert "reconnect" in seen[-1]
                assert seen[-1]["reconnect"].get("after_ms", 0) <= 30_000
                lingering.cancel()
                await asyncio.gather(lingering, return_exceptions=True)
                assert await stopping == 0
                # The lease lasts ten minutes: only the hand-over lets the other replica go on.
                runtime.release(1)
                after = seqs(seen)[-1]
                async with asyncio.timeout(60):
                    rest = [message async for message in there.messages(started["thread_id"], after)]
                proposal = await there.call("GET", f"/api/proposals/{started['proposal_id']}")
    assert 0 < after < 52
    assert seqs(seen) + seqs(rest) == list(range(1, 53))
    assert not any("discontinuity" in event for m in rest for event in m.get("batch", {}).get("events", ()))
    assert facts_of(proposal["generated_files"]) == expected("short_run")["files"]


async def test_a_reader_that_comes_back_by_itself_sees_one_stream_through_a_rolling_restart(
    database: str,
) -> None:
    """One address, two processes one after the other: the second takes the port as soon as it is free."""
    runtime = PacedRuntime("short_run", 0.3)
    async with serve_runtime(runtime) as url:
        environment = hub_environment(
            database,
            url,
            IDEO_RUNTIME_PROFILE="full",
            IDEO_LEASE_TTL_S="600",
            IDEO_DRAIN_S="1",
            IDEO_HTTP_PORT=str(free_port()),
        )
        async with forked("serve", environment=environment) as old:
            await old.serving("HTTP", "gRPC")
            async with open_client(old.addresses["HTTP"], token()) as client:
                started = await start(client, "go on")
                history: list[int] = []

                async def read() -> None:
                    async for message in client.messages(started["thread_id"]):
                        history.extend(seqs([message]))

                reading = asyncio.create_task(read())
                await until(lambda: history)
                assert await old.stop() == 0
                assert not reading.done()
                async with forked("serve", environment=environment) as new:
                    await new.serving("HTTP", "gRPC")
                    runtime.release(1)
                    async with asyncio.timeout(60):
                        await reading
    assert history == list(range(1, 53))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the interpreter decides when it collects")
async def test_the_interpreter_makes_no_full_collection_of_its_own_until_the_hub_has_drained(
    database: str,
) -> None:
    async with serve_runtime(PacedRuntime("short_run", 0.3)) as url:
        environment = hub_environment(database, url, IDEO_DRAIN_S="30")
        async with running("serve", environment=environment, module="tests.support.collector_shown") as hub:
            await hub.serving("HTTP", "gRPC")
            address = hub.addresses["HTTP"]
            async with open_client(address, token()) as client, httpx.AsyncClient(timeout=60) as probe:
                started, begun = await start(client, "go on"), asyncio.Event()
                # It keeps the hub open until it is cancelled.
                reading = asyncio.create_task(read_until(client, started["thread_id"], "nothing", begun))
                async with asyncio.timeout(60):
                    await begun.wait()
                hub.signal(signal.SIGTERM)
                await draining(probe, address)
                hub.signal(signal.SIGUSR1)
                await hub.serving("collector")
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            assert await hub.ended() == 0
    assert int(hub.addresses["collector"]) > 1_000_000
