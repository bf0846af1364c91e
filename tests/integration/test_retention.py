"""Journals are removed after their time, and nobody ever gets a gap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc
import grpc.aio
import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from ide_orchestrator.v1 import refinement_pb2_grpc
from server.clock import SystemClock
from server.db.retention import PostgresRetentionStore
from server.domain.errors import CursorOutOfRange, DatabaseUnavailable
from server.domain.journal.journal import JournalIncomplete
from server.domain.journal.retention import Piece, Retention
from server.domain.streams.broadcaster import Broadcaster
from server.wire import messages as m
from server.wire.codec import ProtobufCodec
from tests.integration.started_run import LINES
from tests.support.grpc_interface import refusal_of
from tests.support.http_interface import problem, socket, upgrade
from tests.support.hub import RunningHub, a_workflow, finished, running_hub, start
from tests.support.stored import DELETE_EVENTS, change_rows

DAYS = timedelta(days=90)
#: Removing a journal takes 0.4 s.
SLOW_DELETE = """
CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_sleep(0.4); RETURN NEW; END $$;
CREATE TRIGGER slow BEFORE UPDATE OF floor ON runs FOR EACH ROW EXECUTE FUNCTION be_slow()
"""
#: To remove more than two journals with one statement takes longer than it may.
STUCK_WITH_MANY = """
CREATE FUNCTION be_stuck() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN IF (SELECT count(*) FROM changed) > 2 THEN PERFORM pg_sleep(600); END IF; RETURN NULL; END $$;
CREATE TRIGGER stuck AFTER UPDATE ON runs REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION be_stuck()
"""
#: A journal of 40 events, in rows of 64 KiB.
LARGE_JOURNAL = """
WITH emptied AS (UPDATE runs SET last_seq = 40 WHERE thread_id = $1)
INSERT INTO events (thread_id, first_seq, last_seq, batch, residues, terminal)
SELECT $1, i, i, convert_to(repeat(md5(i::text), 2048), 'UTF8'), '', i = 40 FROM generate_series(1, 40) AS i
"""
AGED = "UPDATE runs SET finished_at = finished_at - interval '91 days' WHERE thread_id = $1"


async def a_run(hub: RunningHub, prompt: str = "[[replay:short_run]]") -> dict[str, Any]:
    """A refinement that is over: what its start answered."""
    async with hub.client() as client:
        started = await start(client, prompt)
        await finished(client, started)
    return started


async def a_run_of_a_stopped_hub(database: str) -> UUID:
    """A refinement that is over, and that no hub will compact."""
    async with running_hub(database) as hub:
        return UUID((await a_run(hub))["thread_id"])


async def kept(hub: RunningHub, thread: str) -> int:
    """Rows of events that are kept."""
    count: int = await hub.core.pool.fetchval(
        "SELECT count(*) FROM events WHERE thread_id = $1", UUID(thread)
    )
    return count


async def test_only_runs_that_ended_long_ago_lose_their_events_and_proposals_stay(database: str) -> None:
    async with running_hub(database) as hub, hub.client() as client:
        old, fresh = await a_run(hub), await a_run(hub)
        live = await start(client, "[[replay:short_run silent=20]]", await a_workflow(client))
        before = await client.call("GET", f"/api/proposals/{old['proposal_id']}")
        await hub.core.pool.execute(AGED, UUID(old["thread_id"]))
        await hub.core.pool.execute("UPDATE runs SET created_at = created_at - interval '91 days'")
        assert await hub.core.retention.sweep() == 1
        assert await hub.core.retention.sweep() == 0
        assert await kept(hub, old["thread_id"]) == 0
        assert await kept(hub, fresh["thread_id"]) > 0
        assert await kept(hub, live["thread_id"]) > 0
        assert await client.call("GET", f"/api/proposals/{old['proposal_id']}") == before
        refinement = await client.call("GET", f"/api/refinements/{old['thread_id']}")
        assert (refinement["floor"], refinement["last_seq"]) == (53, 52)


async def test_replicas_that_look_at_once_remove_each_journal_once(database: str) -> None:
    async with running_hub(database) as hub:
        threads = [(await a_run(hub))["thread_id"] for _ in range(6)]
        for thread in threads:
            await hub.core.pool.execute(AGED, UUID(thread))
        stores = [PostgresRetentionStore(hub.core.pool) for _ in range(4)]
        counts: list[int] = []
        while found := [
            count
            for count in await asyncio.gather(
                *(store.remove(DAYS, Piece(max_journals=2)) for store in stores)
            )
            if count is not None
        ]:
            counts += found
        assert sum(counts) == 6
        assert max(counts) <= 2


async def test_an_expired_cursor_is_refused_with_the_floor_on_every_transport(database: str) -> None:
    async with running_hub(database) as hub:
        thread = (await a_run(hub))["thread_id"]
        await hub.core.pool.execute(AGED, UUID(thread))
        assert await hub.core.retention.sweep() == 1
        headers = {"Authorization": f"Bearer {hub.token()}"}
        path = f"/api/refinements/{thread}/events?after=7"
        found: dict[str, Any] = {}
        async with httpx.AsyncClient(base_url=hub.http, headers=headers, trust_env=False, timeout=60) as http:
            for name, accept in (("page", "application/json"), ("sse", "text/event-stream")):
                answer = await http.get(path, headers={"Accept": accept})
                told = problem(answer)
                found[name] = (answer.status_code, told["code"], told["floor"], told["last_seq"])
            # The one cursor that is left says that the run is over.
            page = (await http.get(f"/api/refinements/{thread}/events?after=52")).json()
            assert (page["items"], page["complete"]) == ([], True)
        for name, protocol in (("seed", {}), ("typed", {"Sec-WebSocket-Protocol": "ideo.v1"})):
            status, _, told = await upgrade(
                hub.http, f"/api/ws/refinements/{thread}?after=7&token={hub.token()}", protocol
            )
            found[name] = (status, told["code"], told["floor"], told["last_seq"])
        assert found == dict.fromkeys(found, (410, "cursor_out_of_range", 53, 52))
        for protocols in ((), ("ideo.v1",)):
            async with socket(hub.http, thread, hub.token(), *protocols, query="?after=52") as opened:
                with suppress(ConnectionClosed):
                    while True:
                        await opened.recv()
                assert opened.close_code == 1000
        async with grpc.aio.insecure_channel(hub.grpc) as channel:
            stub: Any = refinement_pb2_grpc.RefinementServiceStub(channel)
            metadata = (("authorization", f"Bearer {hub.token()}"),)
            for call in (
                stub.WatchRefinement(
                    m.WatchRefinementRequest(thread_id=thread, after_seq=7), metadata=metadata
                ).read(),
                stub.ListEvents(m.ListEventsRequest(thread_id=thread, after_seq=7), metadata=metadata),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call
                refusal = refusal_of(caught.value)
                assert (refusal.code, refusal.metadata["floor"]) == (grpc.StatusCode.OUT_OF_RANGE, "53")


async def test_a_reader_whose_events_are_removed_meanwhile_gets_an_error_and_no_gap(database: str) -> None:
    async with running_hub(database) as hub:
        thread = UUID((await a_run(hub))["thread_id"])
        # As on a replica that has nothing of the run in memory: what is there is still delivered.
        subscription = await Broadcaster(hub.core.journal, SystemClock()).subscribe(thread, 7)
        try:
            await hub.core.pool.execute(AGED, thread)
            assert await hub.core.retention.sweep() == 1
            async with asyncio.timeout(60):
                with pytest.raises(CursorOutOfRange) as told:
                    await subscription.step()
            assert (told.value.floor, told.value.last_seq) == (53, 52)
        finally:
            subscription.close()


@asynccontextmanager
async def a_late_reader(hub: RunningHub, thread: UUID) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """Reads the first piece of legacy frames near the end, for which it has to read what is before it."""
    subscription = await hub.core.broadcaster.subscribe(thread, 49)
    try:
        segments = await subscription.step()
        assert isinstance(segments, list)
        # What readers share was dropped meanwhile: from there the reader would get everything.
        subscription.topic.clear()
        yield lambda: anext(subscription.legacy_pieces(segments[0], ProtobufCodec(), LINES))
    finally:
        subscription.close()


async def test_a_reader_of_legacy_frames_whose_journal_is_removed_while_it_opens_gets_an_error(
    database: str,
) -> None:
    """It has to read what is before its cursor, and that is gone."""
    async with running_hub(database) as hub:
        thread = UUID((await a_run(hub))["thread_id"])
        async with a_late_reader(hub, thread) as first_piece:
            await hub.core.pool.execute(AGED, thread)
            assert await hub.core.retention.sweep() == 1
            async with asyncio.timeout(60):
                with pytest.raises(CursorOutOfRange) as told:
                    await first_piece()
        assert (told.value.floor, told.value.last_seq) == (53, 52)


async def test_a_reader_of_legacy_frames_of_a_journal_with_a_hole_ends(database: str) -> None:
    """Rows that only a person can have deleted, or a disk lost."""
    async with running_hub(database) as hub:
        thread = UUID((await a_run(hub))["thread_id"])
        async with a_late_reader(hub, thread) as first_piece:
            await change_rows(hub.core.pool, DELETE_EVENTS, thread)
            async with asyncio.timeout(60):
                with pytest.raises(JournalIncomplete):
                    await first_piece()


async def test_a_large_journal_is_removed_in_pieces_from_its_beginning_and_an_interruption_loses_none(
    database: str, pool: Any
) -> None:
    thread = await a_run_of_a_stopped_hub(database)
    await change_rows(pool, DELETE_EVENTS, thread)
    await pool.execute(LARGE_JOURNAL, thread)
    async with running_hub(database) as hub, hub.client() as client:
        subscription = await Broadcaster(hub.core.journal, SystemClock()).subscribe(thread, 3)
        await pool.execute(AGED, thread)
        store, piece = PostgresRetentionStore(pool), Piece(max_bytes=600_000)
        assert [await store.remove(DAYS, piece) for _ in range(2)] == [0, 0]
        try:
            refinement = await client.call("GET", f"/api/refinements/{thread}")
            assert (refinement["floor"], refinement["last_seq"]) == (21, 40)
            assert await kept(hub, str(thread)) == 20
            with pytest.raises(CursorOutOfRange) as told:
                await subscription.step()
            assert told.value.floor == 21
        finally:
            subscription.close()
        # Another process goes on, as after a crash between two pieces.
        gone: list[int] = []
        assert await Retention(store, DAYS, on_removed=gone.append).sweep() == 1
        assert gone == [1]
        assert await kept(hub, str(thread)) == 0
        assert (await client.call("GET", f"/api/refinements/{thread}"))["floor"] == 41


async def test_a_piece_ends_with_the_row_that_fills_it_whichever_journals_it_takes(
    database: str, pool: Any
) -> None:
    threads = [await a_run_of_a_stopped_hub(database) for _ in range(3)]
    for thread in threads[:2]:
        await change_rows(pool, DELETE_EVENTS, thread)
    await pool.execute(LARGE_JOURNAL, threads[1])
    async with running_hub(database) as hub:
        for thread in threads:
            await pool.execute(AGED, thread)
        store = PostgresRetentionStore(pool)
        # The first one has nothing to delete; the second is begun.
        assert await store.remove(DAYS, Piece(max_bytes=1)) == 1
        assert [await kept(hub, str(thread)) for thread in threads[:2]] == [0, 39]
        assert await store.remove(DAYS, Piece()) == 2
        assert await store.remove(DAYS, Piece()) is None
        assert [await kept(hub, str(thread)) for thread in threads] == [0, 0, 0]


async def test_journals_that_take_too_long_together_are_removed_in_smaller_pieces(
    database: str, pool: Any
) -> None:
    """The trigger makes it slow to remove many journals at once."""
    async with running_hub(database) as hub:
        threads = [(await a_run(hub))["thread_id"] for _ in range(6)]
        for thread in threads:
            await pool.execute(AGED, UUID(thread))
        await pool.execute(STUCK_WITH_MANY)
        sizes: list[int] = []
        store = PostgresRetentionStore(pool, timeout_s=2.0)
        retention = Retention(store, DAYS, on_removed=sizes.append)
        async with asyncio.timeout(60):
            assert await retention.sweep() == 6
        assert max(sizes) < 6
        assert [await kept(hub, thread) for thread in threads] == [0] * 6


async def test_a_journal_that_cannot_be_removed_ends_the_sweep_and_not_the_hub(
    database: str, pool: Any
) -> None:
    async with running_hub(database) as hub:
        await pool.execute(AGED, UUID((await a_run(hub))["thread_id"]))
        await pool.execute(SLOW_DELETE)
        store = PostgresRetentionStore(pool, timeout_s=0.1)
        with pytest.raises(DatabaseUnavailable):
            await Retention(store, DAYS, on_removed=lambda count: None).sweep()


async def test_events_are_kept_for_ever_by_choice(database: str) -> None:
    async with running_hub(database, journal_retention_days=0) as hub:
        thread = UUID((await a_run(hub))["thread_id"])
        await hub.core.pool.execute(AGED, thread)
        assert await hub.core.retention.sweep() == 0
