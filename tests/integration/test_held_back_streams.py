"""What the runtime sends waits at the runtime while the hub cannot take it: nothing is lost, and memory is
bounded for the process."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import asyncpg

from server.cli.hub_client import open_client
from server.domain.journal.events import Discontinuity, DiscontinuityReason, Token, UpstreamFrame
from server.domain.runs.connection import SINGLE_FRAMES
from server.domain.runs.context import RunContext
from tests.support.driven import Driven, driven, verdict
from tests.support.hand_clock import until
from tests.support.hub import finished, start
from tests.support.processes import forked, hub_environment
from tests.support.redis_server import redis_server
from tests.support.runtime import (
    CLOSE,
    END,
    Answer,
    Runtime,
    ScriptedRuntime,
    Stream,
    files,
    files_frame,
    serve_runtime,
    token_frame,
)
from tests.support.tokens import token

MIB = 1 << 20


@asynccontextmanager
async def no_commits(dsn: str) -> AsyncIterator[None]:
    """A database in which nothing about a run can be written."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE runs IN EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def test_all_runs_together_hold_no_more_than_the_process_may_and_lose_nothing(
    database: str, pool: Any
) -> None:
    """The database hangs for longer than the runtime may be silent."""
    texts = [str(number % 10) * MIB for number in range(30)]
    runtime = ScriptedRuntime([[*map(token_frame, texts), files_frame(a="1"), END]])
    limits = {"max_queue_mib": 16, "max_total_queue_mib": 32, "run_idle_s": 1.5}
    async with serve_runtime(runtime) as url, driven(url, database, pool, **limits) as on:
        budget = on.core.runner.context.budget
        started = [await on.start() for _ in range(4)]
        async with no_commits(database):
            await until(lambda: budget.used_bytes > 20 * MIB)
            await _passes(2.5)
            held = budget.used_bytes
        outcomes = [await on.outcome(refinement) for refinement in started]
        await until(lambda: budget.used_bytes == 0)
    assert held <= 34 * MIB
    for proposal, events in outcomes:
        assert verdict(proposal) == ("completed", None, {"/a": "1"})
        assert [event.kind.text for event in events if isinstance(event.kind, Token)] == texts
        assert {event.epoch for event in events} == {1}
    assert (runtime.connections, runtime.asked) == (4, 0)


async def test_frames_that_are_interpreted_one_by_one_are_journalled_a_few_in_a_turn_of_the_loop(
    database: str, pool: Any
) -> None:
    """Each takes as long as dozens of tokens, however short it is."""
    runtime = ScriptedRuntime([[*[{}] * 4000, files_frame(a="1"), END]])
    most_bytes = 0
    async with serve_runtime(runtime) as url, driven(url, database, pool) as on:
        started = await on.start()
        outcome = asyncio.create_task(on.outcome(started))
        before = on.core.journal.queued_bytes
        while not outcome.done():
            await asyncio.sleep(0)
            now = on.core.journal.queued_bytes
            most_bytes, before = max(most_bytes, now - before), now
        proposal, events = await outcome
    assert verdict(proposal) == ("completed", None, {"/a": "1"})
    frames = [event for event in events if isinstance(event.kind, UpstreamFrame)]
    assert len(frames) == 4000
    # An event of such a frame has less than 100 bytes.
    assert most_bytes < 3 * SINGLE_FRAMES * 100


async def test_states_that_change_files_alone_wait_as_other_frames_do_while_much_is_queued(
    database: str, pool: Any
) -> None:
    texts = [f"{number:04}" * 10_000 for number in range(300)]
    runtime = ScriptedRuntime([[*(files_frame(a=text, b="1") for text in texts), END]])
    async with serve_runtime(runtime) as url, driven(url, database, pool, max_queue_mib=4) as on:
        journal = on.core.journal
        started = await on.start()
        async with no_commits(database):
            await until(lambda: journal.queued_bytes > 4 * MIB)
            await _passes(0.5)
            held = journal.queued_bytes
        proposal, _ = await on.outcome(started)
    # The last one may go beyond the limit, and what came with it.
    assert held <= 4.5 * MIB
    assert verdict(proposal) == ("completed", None, {"/a": texts[-1], "/b": "1"})


class NotedRuntime:
    """A runtime, how many states were read, whether large states and frames of other runs waited meanwhile,
    and how many bytes of the budget were in use."""

    context: RunContext

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime
        self.read, self.others_waited = 0, list[bool]()
        #: Bytes of the budget in use while each was read.
        self.used_bytes: list[int] = []
        self.states: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)

    async def state(self, thread_id: str, admit: Any) -> Any:
        async def noted(size_bytes: int) -> None:
            await admit(size_bytes)
            self.others_waited.append(self.context.large_work.locked())
            self.used_bytes.append(self.context.budget.used_bytes)

        state = await self._runtime.state(thread_id, noted)
        self.states.append(state)
        self.read += 1
        return state


def noted(on: Driven) -> NotedRuntime:
    """Has the runs use such a runtime."""
    runner = on.core.runner
    made = NotedRuntime(on.core.runtime)
    runner.context = made.context = replace(runner.context, runtime=cast(Any, made))
    return made


async def test_large_states_of_all_runs_have_their_room_until_their_files_are_journalled(
    database: str, pool: Any
) -> None:
    """Each has three times its bytes: what takes them is the answer, a text in it, and the file of that."""
    text = "x" * (12 * MIB)
    states = [{"status": "completed", "generated_files": files(a=text)}]
    runtime = ScriptedRuntime([[END]], states)
    limits = {"max_queue_mib": 48, "max_total_queue_mib": 48}
    async with serve_runtime(runtime) as url, driven(url, database, pool, **limits) as on:
        states_of_runs = noted(on)
        budget = on.core.runner.context.budget
        started = [await on.start() for _ in range(5)]
        async with no_commits(database):
            # What the first one journals waits for the database, and the next ones wait for room.
            await until(lambda: budget.used_bytes > 12 * MIB)
            await _passes(1.0)
            held, read = budget.used_bytes, states_of_runs.read
        outcomes = [await on.outcome(refinement) for refinement in started]
        await until(lambda: budget.used_bytes == 0)
    assert held <= 50 * MIB
    assert read <= 1
    assert states_of_runs.used_bytes[0] >= 36 * MIB
    # Nobody but the recorders has their files afterwards.
    assert [state.files for state in states_of_runs.states] == [{}] * 5
    for proposal, _ in outcomes:
        assert verdict(proposal) == ("completed", None, {"/a": text})


async def test_one_large_state_is_read_at_a_time(database: str, pool: Any) -> None:
    """To read it takes several times its bytes, in which all runs' large frames and states have no part."""
    states = [{"status": "completed", "generated_files": files(a="x" * (2 * MIB))}]
    async with (
        serve_runtime(ScriptedRuntime([[END]], states)) as url,
        driven(url, database, pool) as on,
    ):
        runtime = noted(on)
        proposal, _ = await on.outcome(await on.start())
        await until(lambda: not runtime.context.large_work.locked())
    assert verdict(proposal) == ("completed", None, {"/a": "x" * (2 * MIB)})
    assert runtime.others_waited == [True]


async def test_a_state_that_is_neither_large_nor_small_has_room_and_lets_others_read_theirs(
    database: str, pool: Any
) -> None:
    text = "x" * (300 << 10)
    states = [{"status": "completed", "generated_files": files(a=text)}]
    async with (
        serve_runtime(ScriptedRuntime([[END]], states)) as url,
        driven(url, database, pool) as on,
    ):
        runtime = noted(on)
        proposal, _ = await on.outcome(await on.start())
        await until(lambda: runtime.context.budget.used_bytes == 0)
    assert verdict(proposal) == ("completed", None, {"/a": text})
    assert runtime.others_waited == [False]
    assert runtime.used_bytes[0] >= len(text)


class Stalling(ScriptedRuntime):
    """Does not send the rest of a frame on its first connection."""

    async def stream(self, stream: Stream) -> None:
        if not self.connections:
            self.connections += 1
            await stream.accept()
            await stream.send(json.dumps(token_frame("x" * MIB)).encode(), share=0.9)
            await stream.silence()
        await super().stream(stream)


async def test_a_large_frame_whose_rest_does_not_come_gives_its_room_back(database: str, pool: Any) -> None:
    runtime = Stalling([[token_frame("x" * MIB), files_frame(a="1"), END]])
    async with serve_runtime(runtime) as url, driven(url, database, pool) as on:
        context = on.core.runner.context
        on.core.runner.context = replace(context, limits=replace(context.limits, rest_s=0.2))
        proposal, events = await on.outcome(await on.start())
        await until(lambda: context.budget.used_bytes == 0)
    assert verdict(proposal) == ("completed", None, {"/a": "1"})
    assert [event.kind.text for event in events if isinstance(event.kind, Token)] == ["x" * MIB]
    assert runtime.connections == 2


async def test_a_frame_whose_events_wait_takes_no_room_of_its_own(database: str, pool: Any) -> None:
    texts = [letter * (9 * MIB) for letter in "abcdef"]
    runtime = ScriptedRuntime([[*map(token_frame, texts), files_frame(a="1"), END]])
    async with serve_runtime(runtime) as url, driven(url, database, pool) as on:
        budget, journal = on.core.runner.context.budget, on.core.journal
        started = await on.start()
        async with no_commits(database):
            # An event, and the frame that the next one is compared with.
            await until(lambda: journal.queued_bytes > 9 * MIB and budget.used_bytes < 20 * MIB)
        proposal, events = await on.outcome(started)
    assert verdict(proposal) == ("completed", None, {"/a": "1"})
    assert [event.kind.text for event in events if isinstance(event.kind, Token)] == texts


async def test_a_channel_is_held_back_as_well(database: str, pool: Any, tmp_path: Path) -> None:
    texts = [str(number % 10) * MIB for number in range(25)]
    async with redis_server(tmp_path) as redis:
        runtime = Publishing()
        limits: dict[str, Any] = {"max_queue_mib": 4, "run_idle_s": 2.0, "runtime_events_url": redis.url}
        async with serve_runtime(runtime) as url, driven(url, database, pool, **limits) as on:
            budget = on.core.runner.context.budget
            started = await on.start()
            async with no_commits(database), redis.client() as client:
                for frame in (*map(token_frame, texts), files_frame(a="1"), END):
                    await client.publish(f"langgraph:stream:{started.thread_id}", json.dumps(frame))
                await until(lambda: budget.used_bytes > 4 * MIB)
                await _passes(3.0)
                held = budget.used_bytes
            proposal, events = await on.outcome(started)
    assert held <= 7 * MIB
    assert verdict(proposal) == ("completed", None, {"/a": "1"})
    assert [event.kind.text for event in events if isinstance(event.kind, Token)] == texts
    assert {event.epoch for event in events} == {1}


class Publishing(Runtime):
    """Its frames come over the channel, and its state would call the run lost."""

    async def state(self, thread_id: str) -> Answer:
        return 200, {"status": "failed", "error": "asked too early"}


async def _passes(seconds: float) -> None:
    """So much time passes."""
    began = asyncio.get_running_loop().time()
    await until(lambda: asyncio.get_running_loop().time() > began + seconds)


async def test_a_frame_above_16_mib_is_marked_as_lost_and_the_run_goes_on(database: str, pool: Any) -> None:
    frames = [files_frame(a="1"), token_frame("x" * (17 * MIB)), token_frame("y"), files_frame(a="2"), END]
    async with serve_runtime(ScriptedRuntime([frames])) as url, driven(url, database, pool) as on:
        proposal, events = await on.outcome(await on.start())
    assert verdict(proposal) == ("completed", None, {"/a": "2"})
    kinds = [type(event.kind).__name__ for event in events]
    assert kinds == ["RunStarted", "StateUpdate", "Discontinuity", "Token", "StateUpdate", "Terminal"]
    assert events[2].kind == Discontinuity(DiscontinuityReason.FRAME_TOO_LARGE)


async def test_a_frame_above_16_mib_in_a_replay_does_not_keep_the_run_from_its_end(
    database: str, pool: Any
) -> None:
    frames = [token_frame("a"), token_frame("x" * (17 * MIB)), files_frame(a="1")]
    script = ScriptedRuntime([[*frames, CLOSE], [*frames, END]], states=[{"status": "running"}])
    async with serve_runtime(script) as url, driven(url, database, pool, runtime_profile="full") as on:
        proposal, events = await on.outcome(await on.start())
    assert verdict(proposal) == ("completed", None, {"/a": "1"})
    reasons = [event.kind.reason.name for event in events if isinstance(event.kind, Discontinuity)]
    assert reasons == ["FRAME_TOO_LARGE", "RECONNECTED", "FRAME_TOO_LARGE"]


class Pausing(Runtime):
    """Sends a file, then another and the end when `goes_on` is set."""

    def __init__(self) -> None:
        self.goes_on = asyncio.Event()
        self.sent = asyncio.Event()
        self.asked = 0

    async def state(self, thread_id: str) -> Answer:
        self.asked += 1
        return 200, {"status": "completed", "generated_files": {}}

    async def stream(self, stream: Stream) -> None:
        await stream.accept()
        await stream.send(json.dumps(files_frame(a="1")).encode())
        await self.goes_on.wait()
        for frame in (token_frame("x"), files_frame(a="2"), END):
            await stream.send(json.dumps(frame).encode())
        self.sent.set()


async def test_a_process_that_was_paused_reads_what_waits_before_it_judges_the_silence(
    database: str, pool: Any
) -> None:
    runtime = Pausing()
    async with serve_runtime(runtime) as url:
        environment = hub_environment(
            database, url, IDEO_RUN_IDLE_S="3", IDEO_LEASE_TTL_S="15", IDEO_EMPTY_RESULT_GRACE_S="0.1"
        )
        async with forked("serve", environment=environment) as hub:
            await hub.serving("HTTP", "gRPC")
            async with open_client(hub.addresses["HTTP"], token()) as client:
                started = await start(client, "x")
                async for message in client.messages(started["thread_id"]):
                    if any(event["seq"] == 2 for event in message.get("batch", {}).get("events", ())):
                        break
                hub.signal(signal.SIGSTOP)
                runtime.goes_on.set()
                await runtime.sent.wait()
                await _passes(4.5)
                hub.signal(signal.SIGCONT)
                proposal = await finished(client, started)
    assert proposal["status"] == "completed"
    assert [*proposal["generated_files"]] == ["/a"]
    assert tuple(await pool.fetchrow("SELECT last_seq, epoch FROM runs")) == (5, 1)
    assert runtime.asked == 0
