"""Following on a real journal: every reader gets every committed event once, in order, from its cursor."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest

from server.clock import SystemClock
from server.domain.errors import CursorOutOfRange, NotFound
from server.domain.journal.events import Event, Outcome, Token
from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment
from server.domain.streams.broadcaster import Broadcaster
from server.domain.streams.steps import Heartbeat
from server.frames.interpreter import Interpreter
from tests.integration.replicas import RecordingReader
from tests.integration.started_run import StartedRun, read_all, read_pieces, started_run
from tests.support.recordings import frames as recorded_frames


def texts(events: list[Event]) -> list[str]:
    return [event.kind.text for event in events if isinstance(event.kind, Token)]


async def test_readers_from_every_cursor_get_the_rest_once_while_it_is_written(pool: Any) -> None:
    async with started_run(pool) as on:
        readers = [
            asyncio.create_task(read_all(await on.broadcaster.subscribe(on.thread_id, cursor)))
            for cursor in (0, 1)
        ]
        for number in range(2, 60):
            on.put(Token(text=str(number)))
            if number % 3 == 0:
                await on.log.flush()
                subscription = await on.broadcaster.subscribe(on.thread_id, on.log.committed - 1)
                readers.append(asyncio.create_task(read_all(subscription)))
        await on.finish()
        histories = await asyncio.gather(*readers)
        for after in range(60):
            histories.append(await read_all(await on.broadcaster.subscribe(on.thread_id, after)))
    whole = histories[0]
    assert [event.seq for event in whole] == list(range(1, 61))
    assert texts(whole) == [str(number) for number in range(2, 60)]
    for history in histories:
        assert history == whole[len(whole) - len(history) :]
    assert [len(history) for history in histories[-60:]] == list(range(60, 0, -1))


async def test_a_reader_that_falls_out_of_the_window_reads_from_the_journal(pool: Any) -> None:
    async with started_run(pool, window_bytes=2000) as on:
        slow = await on.broadcaster.subscribe(on.thread_id, 0)
        for number in range(200):
            on.put(Token(text=f"{number:050}"))
            if number % 5 == 0:
                await on.log.flush()
        assert slow.topic.window_bytes < 4000
        await on.finish()
        history = await read_all(slow)
    assert [event.seq for event in history] == list(range(1, 203))


async def test_the_window_counts_what_is_rendered_in_it(pool: Any) -> None:
    async with started_run(pool, window_bytes=20_000) as on:
        subscription = await on.broadcaster.subscribe(on.thread_id, 1)
        for number in range(20):
            on.put(Token(text=str(number)))
            await on.log.flush()
            step = await subscription.step()
            assert isinstance(step, list)
            for segment in step:
                segment.cached("rendering", lambda _: bytes(3000))
        assert subscription.topic.window_bytes <= 20_000
        subscription.close()


async def test_what_another_replica_commits_arrives_by_asking(pool: Any) -> None:
    async with started_run(pool, local=False) as on:
        subscription = await on.broadcaster.subscribe(on.thread_id, 0)
        reader = asyncio.create_task(read_all(subscription))
        for number in range(30):
            on.put(Token(text=str(number)))
            await on.log.flush()
            await on.poll()
        await on.finish()
        await on.poll()
        history = await reader
    assert [event.seq for event in history] == list(range(1, 33))


async def test_a_reader_that_joins_does_not_slow_the_others(pool: Any) -> None:
    async with started_run(pool, local=False) as s:
        reader = await s.broadcaster.subscribe(s.thread_id, 0)
        reading = asyncio.ensure_future(read_all(reader))
        s.put(Token(text="one"))
        await s.log.flush()
        # From here on the window has something, and it is not the end.
        await s.poll()
        await s.finish()
        (await s.broadcaster.subscribe(s.thread_id, 0)).close()
        async with asyncio.timeout(60):
            assert [event.seq for event in await reading] == [1, 2, 3]


async def test_a_beat_wakes_a_waiting_reader_with_the_end_and_the_progress(pool: Any) -> None:
    async with started_run(pool) as on:
        subscription = await on.broadcaster.subscribe(on.thread_id, 1)
        waiting = asyncio.create_task(subscription.step())
        await asyncio.sleep(0)
        on.broadcaster.show_progress(on.thread_id, "still at it")
        assert await waiting == Heartbeat(1, "still at it")
        subscription.close()


async def test_a_thread_without_readers_costs_nothing(pool: Any) -> None:
    async with started_run(pool) as on:
        subscriptions = [await on.broadcaster.subscribe(on.thread_id, 0) for _ in range(3)]
        assert (len(on.broadcaster), on.broadcaster.readers) == (1, 3)
        for subscription in subscriptions:
            subscription.close()
            subscription.close()
        assert (len(on.broadcaster), on.broadcaster.readers) == (0, 0)


async def test_a_cursor_beyond_the_end_and_an_unknown_thread_are_refused(pool: Any) -> None:
    async with started_run(pool) as on:
        with pytest.raises(CursorOutOfRange) as refused:
            await on.broadcaster.subscribe(on.thread_id, 2)
        assert (refused.value.floor, refused.value.last_seq) == (1, 1)
        with pytest.raises(NotFound):
            await on.broadcaster.subscribe(uuid4(), 0)
        assert len(on.broadcaster) == 0


# --- The seed's frames -------------------------------------------------------------------------


async def write_recording(on: StartedRun, name: str, *, flush_every: int = 5) -> None:
    interpreter = Interpreter()
    for number, frame in enumerate(recorded_frames(name)):
        meaning = interpreter.interpret(frame)
        if meaning.end:
            await on.finish(meaning.delta)
            return
        delta = meaning.delta
        for kind in meaning.kinds:
            on.put(kind, delta)
            delta = b""
        if number % flush_every == 0:
            await on.log.flush()


async def read_frames(on: StartedRun, after: int) -> list[dict[str, Any]]:
    subscription = await on.broadcaster.subscribe(on.thread_id, after)
    return [json.loads(frame) for frame in b"".join(await read_pieces(subscription)).splitlines()[1:]]


async def test_legacy_readers_from_every_cursor_get_the_recorded_frames(pool: Any) -> None:
    recorded = [json.loads(frame) for frame in recorded_frames("short_run")]
    async with started_run(pool) as on:
        live = [asyncio.create_task(read_frames(on, after)) for after in (0, 0, 1)]
        await asyncio.sleep(0)
        await write_recording(on, "short_run")
        histories = await asyncio.gather(*live)
        late = [await read_frames(on, after) for after in range(53)]
    whole = histories[0]
    assert [frame.pop("seq") for frame in whole] == list(range(2, 53))
    # short_run keeps its files as lines: the legacy form is the recorded one.
    assert whole == recorded
    for history in [*histories[1:], *late]:
        for frame in history:
            frame.pop("seq", None)
        assert history == whole[len(whole) - len(history) :]
    assert [len(history) for history in late] == [51, *range(51, -1, -1)]


async def test_a_late_legacy_reader_continues_from_the_state_of_another(pool: Any) -> None:
    """The journal is read once; the next reader near that place does not read what is before it."""
    async with started_run(pool) as on:
        await write_recording(on, "short_run")
        reader = RecordingReader(on.journal)
        broadcaster = Broadcaster(reader, SystemClock())
        first = await read_frames(StartedRun(on.journal, broadcaster, on.lease, on.log), 0)
        reads = list(reader.reads)
        told = await read_frames(StartedRun(on.journal, broadcaster, on.lease, on.log), 30)
    assert told == [frame for frame in first if frame["seq"] > 30]
    assert reader.reads == reads


async def test_a_run_that_the_hub_ends_shows_an_error_and_an_end_frame(pool: Any) -> None:
    async with started_run(pool) as on:
        on.put(Token(text="x"), b"")
        await on.finish(outcome=Outcome.FAILED)
        frames = await read_frames(on, 0)
    assert frames == [
        {"event_type": "error", "data": {"error": "too long", "context": "deadline_exceeded"}},
        {"event_type": "end", "data": {}, "seq": 3},
    ]


async def test_a_page_of_the_journal_is_cut_at_events(pool: Any) -> None:
    segment = Segment(5, 7, b"\x0a\x01a\x0a\x01b\x0a\x01c", b"\x01x\x00\x01z")
    assert segment.after(5).up_to(6).events() == [b"b"]
    assert segment.after(5).up_to(6).deltas() == [b""]


async def test_a_reader_that_joins_brings_no_other_to_a_stop(pool: Any) -> None:
    """What a new reader finds in the journal reaches all, though the window ends before it."""
    async with started_run(pool, local=False) as on:
        first = await on.broadcaster.subscribe(on.thread_id, 0)
        on.put(Token(text="in the window"))
        await on.log.flush()
        await on.poll()
        reader = asyncio.create_task(read_all(first))
        on.put(Token(text="not in it"))
        await on.finish()
        joined = await on.broadcaster.subscribe(on.thread_id, 2)
        async with asyncio.timeout(60):
            assert [event.seq for event in await reader] == [1, 2, 3, 4]
            assert [event.seq for event in await read_all(joined)] == [3, 4]


async def test_an_older_head_is_ignored(pool: Any) -> None:
    async with started_run(pool, local=False) as on:
        subscription = await on.broadcaster.subscribe(on.thread_id, 0)
        subscription.topic.advance(JournalHead(5, 1, 1, True))
        for older in (JournalHead(4, 1, 1, False), JournalHead(5, 1, 1, False)):
            subscription.topic.advance(older)
            assert subscription.topic.head == JournalHead(5, 1, 1, True)
        subscription.close()


async def test_the_end_is_seen_though_it_came_after_the_head_was_read(pool: Any) -> None:
    async with started_run(pool, local=False) as on:
        heads = on.journal.heads

        async def stale(thread_ids: Any) -> Any:
            found = await heads(thread_ids)
            if not finished.is_set():
                on.put(Token(text="x"))
                await on.finish()
                finished.set()
            return found

        finished = asyncio.Event()
        on.put(Token(text="y"))
        await on.log.flush()
        finished.set()
        reader = asyncio.create_task(read_all(await on.broadcaster.subscribe(on.thread_id, 0)))
        on.put(Token(text="z"))
        await on.log.flush()
        finished.clear()
        on.journal.heads = stale  # type: ignore[method-assign]
        await on.poll()
        async with asyncio.timeout(60):
            assert [event.seq for event in await reader] == [1, 2, 3, 4, 5]
