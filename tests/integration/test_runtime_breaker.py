"""The breaker in place: around all three calls, before anything is stored, and no end of an accepted run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
import pytest
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from server.domain.errors import RuntimeRefused, RuntimeUnavailable
from server.domain.runs.runtime import Invocation
from server.runtime.breaker import Breaker
from server.runtime.client import DeepagentsRuntime
from tests.support.driven import Driven, driven, verdict
from tests.support.hand_clock import until
from tests.support.hub import a_workflow, running_hub
from tests.support.runtime import END, Answer, Runtime, Stream, files_frame, frames_of, serve_runtime
from tests.support.servers import stream_server

THREAD = "00000000-0000-4000-8000-000000000001"
JOB = Invocation(UUID(int=2), UUID(THREAD), {"user_request": "x"}, {"messages": []})
SHOWS = files_frame(a="1")


@dataclass
class Clock:
    """Time for a breaker, which passes when the test says so."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Fickle(Runtime):
    """`status` for every call; with 200 a run shows a file, waits for `goes_on`, and ends. `calls` are those
    that came, by kind."""

    status: int = 200
    calls: list[str] = field(default_factory=list)
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)
    #: Ends the open streams without an `end`.
    breaks: asyncio.Event = field(default_factory=asyncio.Event)
    known: bool = True

    async def invoke(self, job: dict[str, Any]) -> Answer:
        self.calls.append("invoke")
        self.known = self.known or self.status == 200
        return self.status, (await super().invoke(job))[1]

    async def state(self, thread_id: str) -> Answer:
        self.calls.append("state")
        status = 404 if self.status == 200 and not self.known else self.status
        return status, {"status": "running", "generated_files": None}

    async def stream(self, stream: Stream) -> None:
        self.calls.append("stream")
        if self.status != 200:
            await stream.refuse(403)
        await stream.accept()
        await stream.send(json.dumps(SHOWS).encode())
        waits = [asyncio.ensure_future(event.wait()) for event in (self.goes_on, self.breaks)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if self.goes_on.is_set():
            await stream.send(json.dumps(END).encode())


async def _call(runtime: DeepagentsRuntime, kind: str, thread_id: str = THREAD) -> None:
    if kind == "invoke":
        await runtime.invoke(JOB)
    elif kind == "state":
        await runtime.state(thread_id)
    else:
        async with runtime.stream(thread_id):
            pass


async def _fail(runtime: DeepagentsRuntime, kind: str, times: int = 6) -> None:
    """Calls that fail, each about a thread of its own: those of one thread count once."""
    for number in range(times):
        with pytest.raises((RuntimeRefused, RuntimeUnavailable)):
            await _call(runtime, kind, f"thread-{number}")


@asynccontextmanager
async def runtime_on(app: Fickle, clock: Clock) -> AsyncIterator[DeepagentsRuntime]:
    async with serve_runtime(app) as url, DeepagentsRuntime(url, breaker=Breaker(clock)) as runtime:
        yield runtime


@pytest.mark.parametrize("kind", ["invoke", "state"])
async def test_calls_that_fail_open_it_and_then_none_is_made(kind: str) -> None:
    app = Fickle(status=503)
    async with runtime_on(app, Clock()) as runtime:
        await _fail(runtime, kind)
        assert runtime.breaker.state == "open"
        for refused in ("invoke", "state", "stream"):
            with pytest.raises(RuntimeUnavailable) as refused:
                await _call(runtime, refused)
            assert (refused.value.sent, refused.value.retry_after_s) == (False, 30)
    assert app.calls == [kind] * 6


async def test_a_runtime_that_cannot_be_reached_opens_it_whatever_is_called() -> None:
    async with DeepagentsRuntime("http://127.0.0.1:9", breaker=Breaker(Clock())) as runtime:
        for kind in ("invoke", "state", "stream"):
            await _fail(runtime, kind, times=2)
        assert runtime.breaker.state == "open"


@pytest.mark.parametrize("kind", ["state", "stream"])
@pytest.mark.parametrize("status", [500, 502, 503])
async def test_one_thread_whose_calls_fail_does_not_open_it(kind: str, status: int) -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response:
        return Response(status, "Scripted", Headers())

    async def script(connection: ServerConnection) -> None:
        pytest.fail("the stream opened")

    async with (
        stream_server(script, refuse=refuse) as url,
        DeepagentsRuntime(url, breaker=Breaker(Clock())) as runtime,
    ):
        for _ in range(20):
            with pytest.raises(RuntimeRefused):
                await _call(runtime, kind)
        assert (runtime.breaker.state, runtime.breaker.counts.failures) == ("closed", 1)
        for number in range(5):
            with pytest.raises(RuntimeRefused):
                await _call(runtime, kind, f"thread-{number}")
        assert runtime.breaker.state == "open"


async def test_a_run_whose_thread_fails_leaves_starts_of_others_alone(database: str, pool: Any) -> None:
    runtime = OneBadThread()
    async with serve_runtime(runtime) as url, driven(url, database, pool) as on:
        bad = await on.start()
        await until(lambda: runtime.failed >= 20)
        proposal, _ = await on.outcome(await on.start())
        assert verdict(proposal) == ("completed", None, {"/a": "1"})
        assert on.core.runtime.breaker.state == "closed"
        await on.core.refinements.cancel(on.user, bad.thread_id)


class OneBadThread(Runtime):
    """The first thread's stream and state are answered with 500."""

    def __init__(self) -> None:
        self.first = ""
        self.failed = 0

    async def invoke(self, job: dict[str, Any]) -> Answer:
        self.first = self.first or job["job_id"]
        return await super().invoke(job)

    async def state(self, thread_id: str) -> Answer:
        self.failed += thread_id == self.first
        return (500, {"detail": "scripted"}) if thread_id == self.first else (404, {})

    async def stream(self, stream: Stream) -> None:
        if stream.thread_id == self.first:
            self.failed += 1
            await stream.refuse(500)
        await stream.accept()
        for frame in (SHOWS, END):
            await stream.send(json.dumps(frame).encode())


@pytest.mark.parametrize("status", [404, 422])
async def test_refusals_of_a_request_do_not_open_it(status: int) -> None:
    app = Fickle(status=status)
    async with runtime_on(app, Clock()) as runtime:
        await _fail(runtime, "invoke", times=8)
        assert runtime.breaker.state == "closed"


async def test_of_a_stream_only_the_opening_counts() -> None:
    app = Fickle()
    app.breaks.set()
    async with runtime_on(app, Clock()) as runtime:
        for _ in range(8):
            async with frames_of(runtime, THREAD) as frames:
                assert len([frame async for frame in frames]) == 1
        assert (runtime.breaker.state, runtime.breaker.counts.successes) == ("closed", 8)


async def test_three_good_calls_of_any_kind_close_it_again() -> None:
    app, clock = Fickle(status=500), Clock()
    app.breaks.set()
    async with runtime_on(app, clock) as runtime:
        await _fail(runtime, "invoke")
        clock.now, app.status = 31, 200
        for kind in ("state", "stream", "invoke"):
            assert runtime.breaker.state == "half_open"
            await _call(runtime, kind)
        assert runtime.breaker.state == "closed"


async def test_a_call_that_its_caller_gives_up_counts_as_nothing() -> None:
    async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(says_nothing, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    async with silent, DeepagentsRuntime(url, breaker=Breaker(Clock())) as runtime:
        for kind in ("invoke", "state", "stream"):
            call = asyncio.ensure_future(_call(runtime, kind))
            await until(lambda: runtime.breaker.counts.requests == 1)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            assert runtime.breaker.counts.requests == 0
        assert runtime.breaker.counts.failures == 0


# --- Starts ----------------------------------------------------------------------------------------


async def _stored(pool: Any) -> int:
    return int(await pool.fetchval("SELECT (SELECT count(*) FROM proposals) + (SELECT count(*) FROM runs)"))


async def test_a_start_with_the_breaker_open_is_refused_and_nothing_is_stored(
    database: str, pool: Any
) -> None:
    app = Fickle(status=503)
    async with serve_runtime(app) as url, driven(url, database, pool) as on:
        on.core.runtime.breaker = Breaker(Clock())
        for _ in range(6):
            with pytest.raises(RuntimeRefused):
                await on.start()
        before = await _stored(pool)
        assert before == 12
        for _ in range(3):
            with pytest.raises(RuntimeUnavailable) as refused:
                await on.start()
            assert refused.value.retry_after_s == 30
        assert await _stored(pool) == before
    assert app.calls == ["invoke"] * 6


async def test_a_client_gets_503_with_the_seconds_left(database: str, pool: Any) -> None:
    app, clock = Fickle(status=500), Clock()
    async with serve_runtime(app) as url, running_hub(database, runtime_url=url) as hub:
        runtime = hub.core.runtime
        runtime.breaker = Breaker(clock)
        await _fail(runtime, "state")
        clock.now = 12.5
        async with hub.client() as client:
            workflow = await a_workflow(client)
        before = await _stored(pool)
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {hub.token()}"}, timeout=60) as plain:
            answer = await plain.post(
                f"{hub.http}/api/workflows/{workflow}/refinements", json={"user_prompt": "x"}
            )
            unknown = await plain.post(
                f"{hub.http}/api/workflows/{THREAD}/refinements", json={"user_prompt": "x"}
            )
        assert await _stored(pool) == before
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "18")
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert unknown.status_code == 404


async def test_a_start_takes_a_place_of_the_half_open_state_once(database: str, pool: Any) -> None:
    app, clock = Fickle(status=500), Clock()
    app.goes_on.set()
    async with serve_runtime(app) as url, driven(url, database, pool) as on:
        runtime = on.core.runtime
        runtime.breaker = Breaker(clock)
        await _fail(runtime, "state")
        clock.now, app.status = 31, 200
        proposal, _ = await on.outcome(await on.start())
        assert verdict(proposal) == ("completed", None, {"/a": "1"})
        # Its invoke and its stream.
        assert (runtime.breaker.state, runtime.breaker.counts.requests) == ("half_open", 2)


# --- Runs under way --------------------------------------------------------------------------------


async def test_a_run_under_way_outlives_an_open_breaker(database: str, pool: Any) -> None:
    app, clock = Fickle(), Clock()
    async with serve_runtime(app) as url, driven(url, database, pool) as on:
        runtime = on.core.runtime
        runtime.breaker = Breaker(clock)
        started = await on.start()
        await until(lambda: "stream" in app.calls)
        _open(runtime.breaker)
        app.breaks.set()
        lost = _count_losses(on)
        await until(lambda: len(lost) >= 5)
        assert on.core.runner.live == 1
        clock.now = 31
        app.goes_on.set()
        proposal, events = await on.outcome(started)
    assert verdict(proposal) == ("completed", None, {"/a": "1"})
    assert app.calls.count("invoke") == 1
    assert sum(type(event.kind).__name__ == "Discontinuity" for event in events) == 1


@pytest.mark.parametrize(
    ("status", "attempt", "known", "posts"),
    [("pending", 0, False, 1), ("invoking", 1, False, 1), ("invoking", 1, True, 0)],
)
async def test_a_run_that_is_taken_over_waits_for_the_breaker_before_its_invoke(
    database: str, pool: Any, status: str, attempt: int, known: bool, posts: int
) -> None:
    app, clock = Fickle(), Clock()
    async with serve_runtime(app) as url:
        async with driven(url, database, pool, replica="one") as one:
            started = await one.start()
        await pool.execute(
            "UPDATE runs SET status = $1, attempt = $2, lease_until = now() + interval '1 hour'",
            status,
            attempt,
        )
        before, app.known = len(app.calls), known
        async with driven(url, database, pool, replica="two", lease_ttl_s=30) as two:
            two.user = one.user
            runtime = two.core.runtime
            runtime.breaker = Breaker(clock)
            _open(runtime.breaker)
            await pool.execute("UPDATE runs SET lease_until = NULL")
            refusals = _count_refusals(runtime.breaker)
            await until(lambda: len(refusals) >= 5)
            assert two.core.runner.live == 1
            clock.now = 31
            app.goes_on.set()
            proposal, _ = await two.outcome(started)
    assert verdict(proposal) == ("completed", None, {"/a": "1"})
    assert app.calls[before:].count("invoke") == posts


def _open(breaker: Breaker) -> None:
    """Open the breaker without the runtime's help."""
    for _ in range(6):
        breaker.failed(breaker.admit())
    assert breaker.state == "open"


def _count_losses(on: Driven) -> list[str]:
    """The reasons why streams were lost, from now on."""
    losses: list[str] = []
    observer = on.core.runner.context.observer
    forward = observer.lost_upstream

    def lost(lease: Any, why: str) -> None:
        losses.append(why)
        forward(lease, why)

    observer.lost_upstream = lost
    return losses


def _count_refusals(breaker: Breaker) -> list[RuntimeUnavailable]:
    """The calls that the breaker refuses, from now on."""
    refusals: list[RuntimeUnavailable] = []
    admit = breaker.admit

    def counted() -> int:
        try:
            return admit()
        except RuntimeUnavailable as refused:
            refusals.append(refused)
            raise

    breaker.admit = counted
    return refusals
