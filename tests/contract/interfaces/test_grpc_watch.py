"""Following a refinement over gRPC: everything, in order, from any cursor, and nothing left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import grpc.aio
import pytest

from server.wire import messages as m
from tests.support.grpc_interface import GrpcHub, open_grpc_hub, refusal_of
from tests.support.hand_clock import PATIENCE_S, until
from tests.support.paced_runtime import PacedRuntime
from tests.support.runtime import serve_runtime

#: A client that lets the server send next to nothing ahead.
NARROW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024))


@pytest.fixture
async def hub(database: str) -> AsyncIterator[GrpcHub]:
    async with open_grpc_hub(database) as opened:
        yield opened


async def rest_of(call: Any) -> list[m.Event]:
    """The events that are left of a call that was read from."""
    events: list[m.Event] = []
    while (response := await call.read()) is not grpc.aio.EOF:
        events.extend(response.batch.events)
    return events


def handlers() -> list[str]:
    """The watches that grpc still runs a task for."""
    names = [task.get_name() for task in asyncio.all_tasks()]
    return [name for name in names if "WatchRefinement" in name]


async def test_a_watch_is_hello_then_every_event_then_ok_with_the_last_seq(hub: GrpcHub) -> None:
    ann = hub.caller()
    refinement = await ann.start()
    call = ann.watch(refinement.thread_id)
    responses = [response async for response in call]
    assert responses[0].WhichOneof("kind") == "hello"
    assert responses[0].hello.recovered
    assert responses[0].hello.floor == 1
    events = [event for response in responses for event in response.batch.events]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[0].WhichOneof("kind") == "run_started"
    assert [event.WhichOneof("kind") for event in events].index("terminal") == len(events) - 1
    assert events[-1].terminal.outcome == m.Outcome.OUTCOME_COMPLETED
    assert await call.code() is grpc.StatusCode.OK
    assert dict(await call.trailing_metadata())["last-seq"] == str(len(events))


async def test_a_watch_resumes_at_every_seq_with_exactly_the_rest(hub: GrpcHub) -> None:
    ann = hub.caller()
    refinement = await ann.start()
    events = await ann.events(refinement.thread_id)
    assert len(events) > 50
    for after in range(len(events) + 1):
        assert await ann.events(refinement.thread_id, after) == events[after:], after
    assert hub.core.broadcaster.readers == 0


async def test_a_reader_that_breaks_off_again_and_again_misses_and_repeats_nothing(hub: GrpcHub) -> None:
    ann = hub.caller()
    refinement = await ann.start("[[replay:short_run speed=20]]")
    steady = asyncio.ensure_future(ann.events(refinement.thread_id))
    got: list[m.Event] = []
    while not got or not got[-1].HasField("terminal"):
        call = ann.watch(refinement.thread_id, got[-1].seq if got else 0)
        async for response in call:
            got.extend(response.batch.events)
            if response.batch.events:
                call.cancel()
                break
    assert got == await steady


async def test_events_reach_a_watch_while_the_run_goes_on(database: str) -> None:
    runtime = PacedRuntime("short_run")
    async with serve_runtime(runtime) as url, open_grpc_hub(database, runtime_url=url) as hub:
        ann = hub.caller()
        refinement = await ann.start()
        call = ann.watch(refinement.thread_id)
        last = (await call.read()).hello.last_seq
        for share in (0.3, 0.6):
            # There is something new only now.
            runtime.release(share)
            got = last
            while got == last:
                got = max([got, *(event.seq for event in (await call.read()).batch.events)])
            last = got
        request = m.GetRefinementRequest(thread_id=refinement.thread_id)
        now = await ann.refinements.GetRefinement(request, metadata=ann.metadata)
        assert now.refinement.status == m.ProposalStatus.PROPOSAL_STATUS_PROCESSING
        cancelled = await ann.refinements.CancelRefinement(
            m.CancelRefinementRequest(thread_id=refinement.thread_id), metadata=ann.metadata
        )
        assert cancelled.refinement.status == m.ProposalStatus.PROPOSAL_STATUS_CANCELLED
        rest = await rest_of(call)
        assert rest[-1].terminal.outcome == m.Outcome.OUTCOME_CANCELLED


async def test_a_watch_and_pages_give_the_same_events(hub: GrpcHub) -> None:
    ann = hub.caller()
    refinement = await ann.start("[[replay:long_run]]")
    events = await ann.events(refinement.thread_id)
    paged: list[m.Event] = []
    while True:
        request = m.ListEventsRequest(
            thread_id=refinement.thread_id, after_seq=len(paged), limit=300, wait_seconds=5
        )
        page = await ann.refinements.ListEvents(request, metadata=ann.metadata)
        assert len(page.events) <= 300
        paged.extend(page.events)
        if page.complete:
            break
    assert paged == events
    assert page.position.last_seq == len(events)


async def test_a_watch_stays_open_while_the_database_is_away(database: str, hub: GrpcHub) -> None:
    ann = hub.caller()
    refinement = await ann.start()
    # Nobody has read it: what readers share would be delivered without the database.
    await hub.core.runner.wait(UUID(refinement.thread_id))
    kill = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND query LIKE '%FROM events%'"
    )
    blocker = await asyncpg.connect(database)
    admin = await asyncpg.connect(database)
    try:
        async with blocker.transaction():
            await blocker.execute("LOCK TABLE events")
            call = ann.watch(refinement.thread_id)
            last_seq = (await call.read()).hello.last_seq
            killed = 0
            async with asyncio.timeout(PATIENCE_S):
                while killed < 2:
                    killed += len(await admin.fetch(kill))
                    await asyncio.sleep(0.01)
        assert [event.seq for event in await rest_of(call)] == list(range(1, last_seq + 1))
    finally:
        await blocker.close()
        await admin.close()


async def test_a_cancelled_watch_frees_its_place(hub: GrpcHub) -> None:
    ann = hub.caller()
    refinement = await ann.start("[[replay:short_run silent=5]]")
    call = ann.watch(refinement.thread_id)
    await call.read()
    assert hub.core.broadcaster.readers == 1
    call.cancel()
    await until(lambda: hub.core.broadcaster.readers == 0)
    await until(lambda: not handlers())


async def test_no_handler_is_left_after_twenty_broken_off_watches(hub: GrpcHub) -> None:
    ann = hub.caller()
    refinement = await ann.start("[[replay:short_run silent=5]]")
    for number in range(20):
        async with grpc.aio.insecure_channel(
            hub.address, options=[("grpc.use_local_subchannel_pool", 1)]
        ) as own:
            call = hub.caller(channel=own).watch(refinement.thread_id)
            await call.read()
            if number % 2:
                call.cancel()
    await until(lambda: hub.core.broadcaster.readers == 0)
    await until(lambda: not handlers())
    assert len(hub.interface.watches) == 0


async def test_a_watch_ends_at_its_callers_deadline(hub: GrpcHub) -> None:
    ann = hub.caller()
    refinement = await ann.start("[[replay:short_run silent=5]]")
    request = m.WatchRefinementRequest(thread_id=refinement.thread_id)
    call = ann.refinements.WatchRefinement(request, metadata=ann.metadata, timeout=0.3)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        _ = [response async for response in call]
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: hub.core.broadcaster.readers == 0)


async def test_a_reader_that_takes_nothing_is_given_up_and_others_are_not(
    database: str, logged: list[Any]
) -> None:
    # Long enough for a reader that reads, also on a busy machine.
    async with open_grpc_hub(database, write_s=2.5) as hub:
        ann = hub.caller()
        refinement = await ann.start("[[replay:long_run]]")
        everything = await ann.events(refinement.thread_id)
        async with grpc.aio.insecure_channel(hub.address, options=NARROW) as narrow:
            stuck = hub.caller(channel=narrow).watch(refinement.thread_id)
            await stuck.read()
            await until(lambda: hub.core.broadcaster.readers == 0)
            assert await ann.events(refinement.thread_id) == everything
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await rest_of(stuck)
            refusal = refusal_of(caught.value)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "reader_too_slow")
            assert "watch again" in (caught.value.details() or "")
            assert (refusal.trace_id, refinement.thread_id) in [
                (entry["trace_id"], entry["thread_id"]) for entry in logged if entry["event"] == "slow_reader"
            ]
        await until(lambda: not handlers())


async def test_a_stuck_reader_that_goes_away_leaves_no_handler_and_no_noise(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_grpc_hub(database, write_s=0.2) as hub:
        ann = hub.caller()
        refinement = await ann.start("[[replay:long_run]]")
        await hub.core.runner.wait(UUID(refinement.thread_id))
        async with grpc.aio.insecure_channel(hub.address, options=NARROW) as narrow:
            await hub.caller(channel=narrow).watch(refinement.thread_id).read()
            await until(lambda: hub.core.broadcaster.readers == 0)
            assert handlers()
        await until(lambda: not handlers())
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


async def test_stopping_ends_watches_at_once_and_asks_clients_to_reconnect(hub: GrpcHub) -> None:
    ann = hub.caller()
    refinement = await ann.start("[[replay:short_run silent=5]]")
    call = ann.watch(refinement.thread_id)
    await call.read()

    reading = asyncio.ensure_future(rest_of(call))
    async with asyncio.timeout(PATIENCE_S):
        await hub.interface.stop(20 * PATIENCE_S)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await reading
    refusal = refusal_of(caught.value)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "shutting_down")
    assert refusal.retry_after_s == 1
    assert hub.core.broadcaster.readers == 0


async def test_a_quiet_watch_gets_heartbeats(hub: GrpcHub) -> None:
    ann = hub.caller()
    refinement = await ann.start("[[replay:short_run silent=5]]")
    call: Any = ann.watch(refinement.thread_id)
    await call.read()
    hub.core.broadcaster.show_progress(UUID(refinement.thread_id), "half of it")
    while not (response := await call.read()).HasField("heartbeat"):
        assert response.batch.events
    assert response.heartbeat.progress == "half of it"
    assert response.heartbeat.last_seq >= 1
    call.cancel()
