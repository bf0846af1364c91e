"""`ideo serve --processes`: several processes on the same ports, each a replica."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from server.cli.hub_client import HubClient, open_client
from tests.support.client import events
from tests.support.hand_clock import retried, until
from tests.support.hub import finished, start
from tests.support.paced_runtime import PacedRuntime
from tests.support.postgres import Postgres
from tests.support.processes import Process, forked, hub_environment, replay_process, running
from tests.support.recordings import expected, facts_of
from tests.support.runtime import serve_runtime
from tests.support.tokens import token

pytestmark = pytest.mark.asyncio(loop_scope="module")
#: Events of the recording, with the one that the hub puts first.
EVENTS = list(range(1, 53))
#: A reader of each protocol has a connection of its own.
WAYS = ("ws-json", "sse", "grpc", "rest", "connect-proto", "ws-proto")


class Hub:
    """The hub of two processes. `runtime`: that of its runs. `log`: what they write to standard error."""

    def __init__(
        self, parent: Process, environment: dict[str, str], runtime: PacedRuntime, log: Path
    ) -> None:
        self.parent, self.environment, self.runtime, self.log = parent, environment, runtime, log
        self.http, self.grpc = parent.addresses["HTTP"], parent.addresses["gRPC"]

    async def figures(self, name: str) -> dict[str, float]:
        """A metric of each process, by its number, asked over a new connection."""
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            text = (await http.get(f"{self.http}/metrics")).raise_for_status().text
        found = re.findall(rf'^ide_orchestrator_{name}\{{process="(\d)"\S* (\S+)$', text, re.MULTILINE)
        return {number: float(figure) for number, figure in found}

    async def until_up(self) -> None:
        """Wait until both processes answer."""

        async def up() -> None:
            assert await self.figures("process_up") == {"1": 1, "2": 1}

        await retried(up, AssertionError)

    async def followed(self, readers: int) -> dict[str, float]:
        """How many readers each process has, once there are so many together."""

        async def all_there() -> dict[str, float]:
            followers = await self.figures("followers")
            assert sum(followers.values()) == readers
            return followers

        return await retried(all_there, AssertionError)

    async def owner(self) -> int:
        """The number of the process that drives the one run."""

        async def found() -> int:
            [number] = [int(number) for number, runs in (await self.figures("runs_live")).items() if runs]
            return number

        return await retried(found, ValueError)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    log, runtime = tmp_path_factory.mktemp("hub") / "log", PacedRuntime("short_run")
    async with postgres.fresh(migrated=True) as dsn, serve_runtime(runtime) as url:
        environment = hub_environment(dsn, url, IDEO_RUNTIME_PROFILE="full", IDEO_DRAIN_S="10")
        async with running("serve", "--processes", "2", environment=environment, log=log) as parent:
            await parent.serving("HTTP", "gRPC")
            yield Hub(parent, environment, runtime, log)


def children_of(pid: int) -> list[int]:
    """The processes that a process has started, in this order."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def seqs_of(way: str, hub: Hub, thread_id: str) -> list[int]:
    return [int(event["seq"]) async for event in events(way, hub, token(), thread_id)]


async def test_a_runs_events_come_once_and_in_order_over_each_protocol_from_both_processes(hub: Hub) -> None:
    hub.runtime.release(0.5)
    async with open_client(hub.http, token()) as client:
        started = await start(client, "go on")
        thread_id = started["thread_id"]
        readers: list[asyncio.Task[list[int]]] = []
        while len(readers) < 12 or 0 in (await hub.followed(len(readers))).values():
            assert len(readers) < 120
            for way in WAYS:
                readers.append(asyncio.create_task(seqs_of(way, hub, thread_id)))
        assert sum((await hub.figures("runs_live")).values()) == 1
        hub.runtime.release(1)
        assert all(seqs == EVENTS for seqs in await asyncio.gather(*readers))
        proposal = await finished(client, started)
    assert facts_of(proposal["generated_files"]) == expected("short_run")["files"]


async def test_whichever_process_is_scraped_answers_for_both(hub: Hub) -> None:
    await hub.until_up()
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        text = (await http.get(f"{hub.http}/metrics")).text
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    numbers = Counter(re.search(r'\{process="(\d)"[,}]', line)[1] for line in samples)  # type: ignore[index]
    assert numbers["1"] == numbers["2"] > 100
    assert len(families) == len(set(families))

    async def all_scrapes_are_the_same() -> None:
        # Each over a new connection, so from either process.
        scrapes = [await hub.figures("refinement_duration_seconds_count") for _ in range(12)]
        assert all(scrape.keys() == {"1", "2"} and scrape == scrapes[0] for scrape in scrapes)

    # The end of a run is counted a moment after its readers have it.
    await retried(all_scrapes_are_the_same, AssertionError)


async def test_kill_9_of_the_process_of_a_run_loses_and_repeats_nothing_and_it_is_started_again(
    hub: Hub,
) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(open_client(hub.http, token())) for _ in range(6)]
        hub.runtime.release(0.5)
        started = await start(clients[0], "go on")
        readers = [asyncio.create_task(followed(client, started["thread_id"])) for client in clients]
        async for message in clients[0].messages(started["thread_id"]):
            if "batch" in message:
                break
        number = await hub.owner()
        before = children_of(hub.parent.pid)
        os.kill(before[number - 1], signal.SIGKILL)
        hub.runtime.release(1)
        async with asyncio.timeout(60):
            assert all(seqs == EVENTS for seqs in await asyncio.gather(*readers))
        await hub.until_up()
        after = children_of(hub.parent.pid)
        assert len(after) == 2
        assert set(before) & set(after) == {before[2 - number]}
        assert "process_ended" in hub.log.read_text()
        assert (
            facts_of((await finished(clients[0], started))["generated_files"])
            == expected("short_run")["files"]
        )


async def followed(client: HubClient, thread_id: str) -> list[int]:
    """The numbers of the events, from a reader that comes back when its connection ends."""
    found: list[int] = []
    async for message in client.messages(thread_id):
        found.extend(event["seq"] for event in message.get("batch", {}).get("events", ()))
    return found


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_another_hub_does_not_join_on_the_same_ports(hub: Hub, processes: str, tmp_path: Path) -> None:
    for name, setting in (("HTTP", "IDEO_HTTP_PORT"), ("gRPC", "IDEO_GRPC_PORT")):
        port = hub.parent.addresses[name].rpartition(":")[2]
        code, errors = await ended(
            "--processes", processes, environment={**hub.environment, setting: port}, log=tmp_path / name
        )
        assert (code, errors.count("\n")) == (1, 1)
        assert f"{port} (Address already in use)" in errors


async def ended(*options: str, environment: dict[str, str], log: Path) -> tuple[int, str]:
    """The exit code of `ideo serve`, and what it wrote to standard error."""
    async with forked("serve", *options, environment=environment, log=log) as process:
        code = await process.ended()
    return code, log.read_text()


async def test_sigterm_sends_readers_away_and_ends_all_processes(hub: Hub) -> None:
    await hub.until_up()
    children = children_of(hub.parent.pid)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(open_client(hub.http, token())) for _ in range(6)]
        hub.runtime.release(0.5)
        started = await start(clients[0], "go on")
        readers = [asyncio.create_task(until_sent_away(each, started["thread_id"])) for each in clients]
        await hub.followed(len(readers))
        assert await hub.parent.stop() == 0
        assert all([await reader for reader in readers])
    assert not any(map(alive, children))


async def until_sent_away(client: HubClient, thread_id: str) -> bool:
    async for message in client.messages(thread_id):
        if "reconnect" in message:
            return True
    return False


async def test_kill_9_of_the_parent_leaves_no_process(database: str) -> None:
    async with replay_process() as runtime:
        environment = hub_environment(database, runtime, IDEO_DRAIN_S="0")
        async with running("serve", "--processes", "2", environment=environment) as parent:
            await parent.serving("HTTP", "gRPC")
            children = children_of(parent.pid)
            assert len(children) == 2
            await parent.kill()
            await until(lambda: not any(map(alive, children)))


async def test_what_is_wrong_for_all_processes_is_said_once(empty_database: str, tmp_path: Path) -> None:
    environment = hub_environment(empty_database, "http://127.0.0.1:9")
    code, errors = await ended("--processes", "2", environment=environment, log=tmp_path / "log")
    assert code == 1
    assert errors.count("ideo migrate up") == 1


async def test_a_number_of_processes_below_one_is_a_mistake(tmp_path: Path) -> None:
    code, errors = await ended("--processes", "0", environment={}, log=tmp_path / "log")
    assert code == 2
    assert "--processes" in errors
    assert "1<=x<=64" in errors
