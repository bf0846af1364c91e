"""A runtime that chooses its thread ids: its id towards it, the hub's towards everybody else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from server.cli.hub_client import open_client
from server.domain.errors import RuntimeRefused, RuntimeUnavailable
from server.domain.journal.events import Discontinuity
from server.domain.runs.runtime import Invocation
from server.replay.server import replay_runtime
from server.runtime.client import DeepagentsRuntime
from tests.integration.published_runtime import PublishedRuntime
from tests.support.driven import Driven, driven, verdict
from tests.support.hand_clock import until
from tests.support.hub import a_workflow, finished, running_hub, start
from tests.support.paced_runtime import PacedRuntime
from tests.support.processes import forked, hub_environment
from tests.support.recordings import expected, facts_of
from tests.support.redis_server import RedisServer, redis_server
from tests.support.runtime import (
    END,
    SILENCE,
    Answer,
    Disconnect,
    ScriptedRuntime,
    Stream,
    files_frame,
    serve_runtime,
)
from tests.support.servers import answer, http_server
from tests.support.tokens import token

JOB = Invocation(UUID(int=2), UUID(int=1), {"user_request": "x"}, {"messages": []})

#: Ids, and how an address spells them.
USABLE = {
    "refinement-proposal-7": "refinement-proposal-7",
    "00000000-0000-4000-8000-00000000000A": "00000000-0000-4000-8000-00000000000A",
    "a b": "a%20b",
    " a ": "%20a%20",
    "job:7;v=1": "job%3A7%3Bv%3D1",
    "a?b=c#d&e": "a%3Fb%3Dc%23d%26e",
    "50%": "50%25",
    "%2e%2e%2f": "%252e%252e%252f",
    "...": "...",
    "é\u2028\ufeff": "%C3%A9%E2%80%A8%EF%BB%BF",
    "*[a]": "%2A%5Ba%5D",
    "@host:80": "%40host%3A80",
    "x" * 255: "x" * 255,
    "\U0001f600" * 255: "%F0%9F%98%80" * 255,
}

#: Ids that are refused, as JSON, with a part of the reason.
UNUSABLE = {
    '""': "blank",
    '"  \\u3000"': "blank",
    "7": "not a string",
    "null": "not a string",
    '["a"]': "not a string",
    '{"id": "a"}': "not a string",
    '"."': "a path",
    '".."': "a path",
    '"../admin"': "a path",
    '"a/b"': "a path",
    '"/"': "a path",
    '"a\\\\b"': "a path",
    '"a\\u0000b"': "control character",
    '"a\\r\\nHost: b"': "control character",
    '"a\\u0085"': "control character",
    '"a\\u007f"': "control character",
    '"\\ud800"': "lone surrogate",
    json.dumps("x" * 256): "255 characters",
    json.dumps("x" * (1 << 20)): "255 characters",
}


@pytest.mark.parametrize(("thread_id", "spelt"), USABLE.items())
async def test_an_id_is_percent_encoded_in_addresses(thread_id: str, spelt: str) -> None:
    lines = []

    async def answerer(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bytes:
        lines.append(head.split(b"\r\n")[0].decode())
        return answer(404 if body == b"" else 200, json.dumps({"thread_id": thread_id}).encode())

    async with http_server(answerer) as base, DeepagentsRuntime(base) as runtime:
        assert await runtime.invoke(JOB) == thread_id
        assert await runtime.state(thread_id) is None
        with pytest.raises(RuntimeRefused):
            async with runtime.stream(thread_id):
                pytest.fail("the stream opened")
    assert lines == [
        "POST /deepagents-runtime/invoke HTTP/1.1",
        f"GET /deepagents-runtime/state/{spelt} HTTP/1.1",
        f"GET /deepagents-runtime/stream/{spelt} HTTP/1.1",
    ]


@pytest.mark.parametrize(("text", "reason"), UNUSABLE.items(), ids=lambda value: value[:20])
async def test_an_id_that_cannot_be_used_is_refused_with_the_reason(text: str, reason: str) -> None:
    async def answerer(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bytes:
        return answer(200, b'{"thread_id": ' + text.encode() + b"}")

    async with http_server(answerer) as base, DeepagentsRuntime(base) as runtime:
        with pytest.raises(RuntimeRefused, match=reason) as refused:
            await runtime.invoke(JOB)
    assert len(str(refused.value)) < 200
    assert "admin" not in str(refused.value)


@dataclass
class Choosing(ScriptedRuntime):
    """As ScriptedRuntime, with the ids that it chooses, one per job. It knows no thread by a job's id."""

    ids: Sequence[str] = ("chosen",)
    #: The ids by which it was asked, by kind of call.
    called: list[tuple[str, str]] = field(default_factory=list)
    #: The POSTs, by number, whose answers are lost.
    lost: Sequence[int] = ()

    async def invoke(self, job: dict[str, Any]) -> Answer:
        await super().invoke(job)
        if len(self.jobs) in self.lost:
            raise Disconnect
        chosen = self.ids[min(len(self.jobs), len(self.ids)) - 1]
        return 200, {"thread_id": chosen, "status": "started"}

    async def state(self, thread_id: str) -> Answer:
        self.called.append(("state", thread_id))
        return await super().state(thread_id) if thread_id in self.ids else (404, {})

    async def stream(self, stream: Stream) -> None:
        self.called.append(("stream", stream.thread_id))
        if stream.thread_id not in self.ids:
            await stream.refuse(404)
        await super().stream(stream)


async def test_a_run_of_a_runtime_that_chooses_ids_is_read_by_its_id_and_shown_by_ours(
    database: str, pool: Any
) -> None:
    async with (
        replay_runtime(chooses_ids=True) as url,
        running_hub(database, runtime_url=url) as hub,
        hub.client() as client,
    ):
        started = await start(client, "[[replay:short_run]]")
        messages = [message async for message in client.messages(started["thread_id"])]
        proposal = await finished(client, started)
        refinement = await client.call("GET", f"/api/refinements/{started['thread_id']}")
    events = [event for message in messages for event in message.get("batch", {}).get("events", ())]
    assert [event["seq"] for event in events] == list(range(1, 53))
    assert proposal["status"] == "completed"
    assert facts_of(proposal["generated_files"]) == expected("short_run")["files"]
    chosen = await pool.fetchval("SELECT runtime_thread_id FROM runs")
    assert chosen.startswith("thread é ")
    assert proposal["thread_id"] == refinement["thread_id"] == started["thread_id"]
    for shown in (started, messages, proposal, refinement):
        assert "thread é" not in json.dumps(shown, ensure_ascii=False)


async def test_the_jobs_own_id_is_not_stored_a_second_time(database: str, pool: Any) -> None:
    async with running_hub(database) as hub, hub.client() as client:
        await finished(client, await start(client, "[[replay:short_run]]"))
    assert await pool.fetchval("SELECT runtime_thread_id IS NULL FROM runs")


async def test_after_kill_9_and_a_restart_the_run_continues_by_the_stored_id(
    database: str, pool: Any
) -> None:
    runtime = PacedRuntime("short_run", 0.5, thread_id="thread é 1")
    async with serve_runtime(runtime) as url:
        environment = hub_environment(database, url, IDEO_RUNTIME_PROFILE="full")
        async with forked("serve", environment=environment) as hub:
            await hub.serving("HTTP", "gRPC")
            async with open_client(hub.addresses["HTTP"], token()) as client:
                started = await start(client, "go on")
                async for message in client.messages(started["thread_id"]):
                    if message.get("batch", {}).get("events", [{"seq": 0}])[-1]["seq"] >= 3:
                        break
            await hub.kill()
        runtime.release(1)
        async with forked("serve", environment=environment) as hub:
            await hub.serving("HTTP", "gRPC")
            async with open_client(hub.addresses["HTTP"], token()) as client:
                proposal = await finished(client, started)
    assert proposal["status"] == "completed"
    assert facts_of(proposal["generated_files"]) == expected("short_run")["files"]
    row = await pool.fetchrow("SELECT last_seq, epoch, attempt, takeovers FROM runs")
    assert tuple(row) == (52, 1, 1, 1)


async def test_another_replica_takes_the_run_over_by_the_stored_id(database: str, pool: Any) -> None:
    runtime = PacedRuntime("short_run", 0.5, thread_id="thread é 1")
    async with serve_runtime(runtime) as url:
        environment = hub_environment(database, url, IDEO_RUNTIME_PROFILE="full")
        async with (
            forked("serve", environment=environment) as one,
            forked("serve", environment=environment) as two,
        ):
            await one.serving("HTTP", "gRPC")
            await two.serving("HTTP", "gRPC")
            async with (
                open_client(one.addresses["HTTP"], token()) as here,
                open_client(two.addresses["HTTP"], token()) as there,
            ):
                started = await start(here, "go on", await a_workflow(here))
                seqs = []
                async for message in there.messages(started["thread_id"]):
                    seqs += [event["seq"] for event in message.get("batch", {}).get("events", ())]
                    if one.up and len(seqs) >= 3:
                        await one.kill()
                        runtime.release(1)
                proposal = await finished(there, started)
    assert seqs == list(range(1, 53))
    assert proposal["status"] == "completed"
    assert await pool.fetchval("SELECT epoch FROM runs") == 1


async def test_the_state_is_asked_by_the_chosen_id(database: str, pool: Any) -> None:
    runtime = Choosing([[files_frame(a="1"), SILENCE]], states=[{"status": "failed", "error": "it broke"}])
    async with serve_runtime(runtime) as url, driven(url, database, pool, run_idle_s=0.2) as on:
        proposal, _ = await on.outcome(await on.start())
    assert verdict(proposal) == ("failed", "upstream_error", {"/a": "1"})
    assert {thread_id for _, thread_id in runtime.called} == {"chosen"}


async def test_an_unusable_id_fails_the_run_with_the_reason_and_nothing_is_called_by_it(
    database: str, pool: Any
) -> None:
    runtime = Choosing([[END]], ids=["../../admin"])
    async with serve_runtime(runtime) as url, driven(url, database, pool) as on:
        with pytest.raises(RuntimeRefused, match="a path, not a name"):
            await on.start()
        [proposal] = (await on.core.proposals.list(on.user, limit=5)).items
    assert proposal.failure is not None
    assert (proposal.failure.reason, "a path, not a name" in proposal.failure.message) == (
        "runtime_refused",
        True,
    )
    assert "admin" not in proposal.failure.message
    assert (len(runtime.jobs), runtime.called) == (1, [])


async def test_an_answer_that_was_lost_fails_the_start_because_the_id_is_lost_with_it(
    database: str, pool: Any
) -> None:
    runtime = Choosing([[END]], lost=[1])
    async with serve_runtime(runtime) as url, driven(url, database, pool) as on:
        with pytest.raises(RuntimeUnavailable):
            await on.start()
        [proposal] = (await on.core.proposals.list(on.user, limit=5)).items
    assert verdict(proposal) == ("failed", "runtime_unavailable", {})
    job_id = runtime.jobs[0]["job_id"]
    assert runtime.called == [("state", job_id)] * 2


async def test_a_job_that_is_sent_again_after_a_takeover_is_read_by_its_new_id(
    database: str, pool: Any
) -> None:
    runtime = Choosing([[SILENCE], [files_frame(a="1"), END]], ids=["first", "second"])
    async with serve_runtime(runtime) as url:
        async with driven(url, database, pool, replica="one") as one:
            started = await one.start()
            await until(lambda: runtime.connections == 1)
        # As if the replica had died between the answer and the write that records it.
        await pool.execute("UPDATE runs SET status = 'invoking', runtime_thread_id = NULL")
        async with driven(url, database, pool, replica="two") as two:
            two.user = one.user
            proposal, events = await two.outcome(started)
    assert verdict(proposal) == ("completed", None, {"/a": "1"})
    assert not any(isinstance(event.kind, Discontinuity) for event in events)
    assert [thread_id for kind, thread_id in runtime.called if kind == "stream"] == ["first", "second"]
    assert await pool.fetchval("SELECT runtime_thread_id FROM runs") == "second"


# --- The channel -----------------------------------------------------------------------------------


async def _journalled(on: Driven, started: Any, last_seq: int) -> None:
    async with asyncio.timeout(60):
        while (await on.core.refinements.get(on.user, started.thread_id)).last_seq < last_seq:
            await asyncio.sleep(0.01)


async def _subscribers(redis: RedisServer, thread_id: str, count: int) -> None:
    """Wait until a thread's channel has so many."""
    async with asyncio.timeout(60), redis.client() as client:
        while (await client.pubsub_numsub(f"langgraph:stream:{thread_id}"))[0][1] != count:
            await asyncio.sleep(0.01)


async def test_the_channel_of_the_chosen_id_is_joined_and_what_may_be_missed_is_marked(
    database: str, pool: Any, tmp_path: Path
) -> None:
    async with redis_server(tmp_path) as redis:
        begins = asyncio.Event()
        runtime = PublishedRuntime(redis, [begins, files_frame(a="1"), END], thread_id="chosen 1")
        async with (
            serve_runtime(runtime) as url,
            driven(url, database, pool, runtime_events_url=redis.url, run_idle_s=30.0) as on,
        ):
            started = await on.start()
            await _subscribers(redis, "chosen 1", 1)
            # The channel of the job's id is left.
            await _subscribers(redis, str(started.thread_id), 0)
            begins.set()
            proposal, events = await on.outcome(started)
        await runtime.close()
    assert verdict(proposal) == ("completed", None, {"/a": "1"})
    kinds = [type(event.kind).__name__ for event in events]
    assert kinds == ["RunStarted", "Discontinuity", "StateUpdate", "Terminal"]


async def test_a_run_on_a_chosen_channel_is_taken_over(database: str, pool: Any, tmp_path: Path) -> None:
    async with redis_server(tmp_path) as redis:
        begins, taken = asyncio.Event(), asyncio.Event()
        runtime = PublishedRuntime(
            redis, [begins, files_frame(a="1"), taken, files_frame(a="2"), END], thread_id="chosen"
        )
        chosen: dict[str, Any] = {"run_idle_s": 0.1, "runtime_events_url": redis.url}
        async with serve_runtime(runtime) as url:
            async with driven(url, database, pool, replica="one", **chosen) as one:
                started = await one.start()
                await _subscribers(redis, "chosen", 1)
                begins.set()
                await _journalled(one, started, 3)
            await _subscribers(redis, "chosen", 0)
            async with driven(url, database, pool, replica="two", **chosen) as two:
                await _subscribers(redis, "chosen", 1)
                taken.set()
                two.user = one.user
                proposal, _ = await two.outcome(started)
            await runtime.close()
    assert verdict(proposal) == ("completed", None, {"/a": "2"})
    assert len(runtime.jobs) == 1
