"""What readers of a thread share: reads of the journal, renderings, legacy frames and their states."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from typing import Any
from uuid import uuid4

from server.clock import SystemClock
from server.domain.fair_budget import FairBudget, Reservation
from server.domain.journal.events import FileChange, StateUpdate, Token
from server.domain.loop_time import TURN_S
from server.domain.proposals.files import File
from server.domain.streams.broadcaster import Broadcaster
from server.domain.streams.steps import Heartbeat
from server.domain.streams.subscription import Subscription
from server.domain.streams.topic import STEP_SEGMENTS
from server.frames.interpreter import Interpreter
from server.wire.rendering import event_jsons
from tests.integration.replicas import RecordingReader
from tests.integration.started_run import CODEC, LINES, StartedRun, read_all, read_pieces, started_run
from tests.support.hand_clock import HandClock, until


class Followed:
    """A run of token frames, followed on a replica whose reads of the journal are counted."""

    def __init__(self, on: StartedRun, *, max_shared_bytes: int = 64 << 20) -> None:
        self.on = on
        self.reader = RecordingReader(on.journal)
        self.broadcaster = Broadcaster(self.reader, SystemClock(), max_shared_bytes=max_shared_bytes)

    async def subscribe(self, after: int = 0) -> Subscription:
        return await self.broadcaster.subscribe(self.on.thread_id, after)

    async def pieces(self, after: int = 0) -> bytes:
        return b"".join(await read_pieces(await self.subscribe(after)))


async def write_tokens(on: StartedRun, count: int) -> None:
    interpreter = Interpreter()
    for number in range(count):
        data = {"chunk": f"content='{number}' id='run-1'", "metadata": {"of": "x" * 300}}
        frame = json.dumps({"event_type": "on_llm_stream", "data": data}).encode()
        meaning = interpreter.interpret(frame)
        on.put(meaning.kinds[0], meaning.delta)
        if number % 500 == 0:
            await on.log.flush()
    await on.finish()


def seqs(frames: bytes) -> list[int]:
    return [json.loads(line)["seq"] for line in frames.splitlines()[1:]]


async def test_all_readers_of_a_journal_read_it_once_together(pool: Any) -> None:
    async with started_run(pool) as on:
        await write_tokens(on, 3000)
        followed = Followed(on)
        subscriptions = [await followed.subscribe() for _ in range(20)]
        histories = await asyncio.gather(*map(read_all, subscriptions))
        assert len(followed.reader.reads) == len(set(followed.reader.reads))
        reads = len(followed.reader.reads)
        # Also one that comes when all have left.
        histories.append(await read_all(await followed.subscribe()))
        assert len(followed.reader.reads) == reads
    assert all(history == histories[0] for history in histories)
    assert [event.seq for event in histories[0]] == list(range(1, 3003))


async def test_the_json_of_an_event_is_made_once_for_readers_of_any_cursor(pool: Any) -> None:
    async with started_run(pool) as on:
        await write_tokens(on, 300)
        followed = Followed(on)
        keeper = await followed.subscribe()
        made: dict[int, bytes] = {}
        for after in (0, 0, 17, 200, 299):
            subscription = await followed.subscribe(after)
            for segment in await subscription.available():
                for seq, text in enumerate(event_jsons(segment), segment.first_seq):
                    assert made.setdefault(seq, text) is text
            subscription.close()
        keeper.close()
    assert sorted(made) == list(range(1, 303))


async def test_a_read_survives_the_reader_that_began_it(pool: Any) -> None:
    async with started_run(pool) as on:
        await write_tokens(on, 100)
        followed = Followed(on)
        first, second = await followed.subscribe(), await followed.subscribe()
        impatient = asyncio.create_task(first.available())
        patient = asyncio.create_task(second.available())
        await asyncio.sleep(0)
        impatient.cancel()
        assert (await patient)[0].first_seq == 1
        assert followed.reader.reads == [0]
        first.close()
        second.close()


async def test_legacy_frames_are_made_once_for_all_readers(pool: Any) -> None:
    async with started_run(pool) as on:
        await write_tokens(on, 3000)
        followed = Followed(on)
        subscriptions = [await followed.subscribe() for _ in range(10)]
        first, *others = await asyncio.gather(*map(read_pieces, subscriptions))
    assert seqs(b"".join(first)) == list(range(2, 3003))
    for other in others:
        assert all(mine is theirs for mine, theirs in zip(first, other, strict=True))


async def test_legacy_readers_that_come_late_replay_the_run_once_together(pool: Any) -> None:
    async with started_run(pool) as on:
        await write_tokens(on, 3000)
        followed = Followed(on)
        late = await asyncio.gather(*(followed.pieces(2990) for _ in range(10)))
        assert len(followed.reader.reads) == len(set(followed.reader.reads))
        whole = await Followed(on).pieces()
        for after in (0, 1, 700, 1500, 2500, 2999, 3001):
            assert seqs(await followed.pieces(after)) == list(range(max(after + 1, 2), 3003))
            assert whole.endswith(await followed.pieces(after))
    assert all(frames == late[0] and whole.endswith(frames) for frames in late)


async def test_a_reader_that_catches_up_lets_others_go_on(pool: Any) -> None:
    async with started_run(pool) as on:
        # Kept as the window's: each token is a commit of its own.
        keeper = await on.broadcaster.subscribe(on.thread_id, 0)
        for number in range(1100):
            on.put(Token(text=str(number)))
            await on.log.flush()
        reader, in_turn, turn = await on.broadcaster.subscribe(on.thread_id, 0), Counter[int](), 0

        def next_turn() -> None:
            nonlocal turn
            turn += 1
            asyncio.get_running_loop().call_soon(next_turn)

        next_turn()
        while reader.cursor < on.log.last_seq:
            step = await reader.step()
            assert isinstance(step, list)
            in_turn[turn] += len(step)
            write_for(TURN_S / 2)
        reader.close()
        keeper.close()
    assert in_turn.total() == 1101
    assert len(in_turn) > 2
    assert max(in_turn.values()) <= 8 * STEP_SEGMENTS


def write_for(seconds: float) -> None:
    """Have the event loop so long, as a reader's writing does."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


async def test_legacy_frames_are_the_same_with_hardly_any_memory(pool: Any) -> None:
    async with started_run(pool) as on:
        await write_tokens(on, 1500)
        whole = await Followed(on).pieces()
        followed = Followed(on, max_shared_bytes=1)
        readers = await asyncio.gather(*(followed.pieces(after) for after in (0, 0, 400, 1100, 1400)))
    for frames in readers:
        assert whole.endswith(frames)
    assert readers[0] == readers[1] == whole


async def test_a_large_file_is_read_once_for_legacy_readers_of_any_cursor(pool: Any) -> None:
    text = "line\n" * 400_000
    async with started_run(pool) as on:
        interpreter = Interpreter()
        for files in ({"/b.md": "b"}, {"/a.md": text, "/b.md": "b"}, {"/a.md": text, "/b.md": "c"}):
            data = {"messages": "[]", "files": files}
            frame = json.dumps({"event_type": "on_state_update", "data": data}).encode()
            meaning = interpreter.interpret(frame)
            on.put(meaning.kinds[0], meaning.delta)
        await on.finish()
        followed = Followed(on)
        keeper = await followed.subscribe()
        found = [b"".join(await read_pieces(await followed.subscribe(after))) for after in (0, 1, 2, 2, 3)]
        # What they share has the large file in two frames, and no frame as a whole.
        assert followed.broadcaster.shared_bytes < 3 * len(text)
        keeper.close()
    lines_of = text.split("\n")
    for after, frames in zip((0, 1, 2, 2, 3), found, strict=True):
        told = [json.loads(line) for line in frames.splitlines()[1:]]
        assert [frame["seq"] for frame in told] == list(range(max(after, 1) + 1, 6))
        assert told[0].keys() == {"event_type", "data", "seq"}
        for frame in told[:-1]:
            files = frame["data"]["files"]
            assert files.get("/a.md", {"content": lines_of})["content"] == lines_of


async def test_a_legacy_reader_waits_for_room_before_it_has_a_large_file(pool: Any) -> None:
    """And what it waits for is made for it then, from the beginning."""
    outgoing, caller = FairBudget(8 << 20), uuid4()
    async with started_run(pool) as on:
        interpreter = Interpreter()
        data = {"files": {f"/{name}.md": name * 1_000_000 for name in "abc"}}
        meaning = interpreter.interpret(json.dumps({"event_type": "on_state_update", "data": data}).encode())
        on.put(meaning.kinds[0], meaning.delta)
        await on.log.flush()
        on.put(StateUpdate(files=(FileChange("/a.md", File(b"short")),)))
        await on.log.flush()
        followed = Followed(on, max_shared_bytes=1 << 20)
        reservation = Reservation(outgoing, caller)
        subscription = await followed.broadcaster.subscribe(on.thread_id, 2, reservation=reservation)
        step = await subscription.step()
        assert isinstance(step, list)
        assert reservation.size_bytes == 0
        pieces = subscription.legacy_pieces(step[0], CODEC, LINES)
        # Others of the same caller have all that it may use.
        with Reservation(outgoing, caller) as other, Reservation(outgoing, caller) as another:
            await other.resize(1 << 20)
            await another.resize(1 << 20)
            first = asyncio.create_task(anext(pieces))
            await until(lambda: outgoing.contended)
            assert reservation.size_bytes == 0
        data_parts = [(await first)[0]]
        assert reservation.size_bytes >= 1_000_000
        data_parts += [part async for part, _ in pieces]
        assert reservation.size_bytes == 0
        subscription.close()
    told = [json.loads(line) for line in b"".join(data_parts).splitlines()[1:]]
    assert told[0]["data"]["files"] == {
        "/a.md": {"content": ["short"]},
        "/b.md": {"content": ["b" * 1_000_000]},
        "/c.md": {"content": ["c" * 1_000_000]},
    }


async def test_a_legacy_reader_of_large_states_uses_little_memory(pool: Any) -> None:
    """400 state frames with a file of 100 KB: 40 MB of frames, of which 4 MB are kept."""
    text = "x" * 100_000
    async with started_run(pool) as on:
        interpreter = Interpreter()
        for number in range(400):
            data = {"files": {"/a.md": text}, "n": number}
            frame = json.dumps({"event_type": "on_state_update", "data": data}).encode()
            meaning = interpreter.interpret(frame)
            on.put(meaning.kinds[0], meaning.delta)
        await on.finish()
        followed = Followed(on, max_shared_bytes=4 << 20)
        subscription = await followed.subscribe()
        size = most = 0
        while (step := await subscription.step()) is not None:
            assert isinstance(step, list)
            for segment in step:
                async for piece, _ in subscription.legacy_pieces(segment, CODEC, LINES):
                    size += len(piece)
                    most = max(most, followed.broadcaster.shared_bytes)
        subscription.close()
    assert size > 40_000_000
    assert most < 5 << 20


async def test_the_windows_of_all_threads_together_have_a_bound(pool: Any) -> None:
    async with started_run(pool) as on:
        broadcaster = Broadcaster(on.journal, SystemClock(), max_shared_bytes=100_000)
        on.journal.subscribe(broadcaster.on_commit)
        async with started_run(pool) as other:
            other.journal.subscribe(broadcaster.on_commit)
            runs = (on, other)
            readers = [await broadcaster.subscribe(run.thread_id, 0) for run in runs]
            for number in range(300):
                for run in runs:
                    run.put(Token(text=f"{number:01000}"))
                    await run.log.flush()
                assert broadcaster.shared_bytes <= 100_000
            for run in runs:
                await run.finish()
            histories = await asyncio.gather(*map(read_all, readers))
    assert [[event.seq for event in history] for history in histories] == [list(range(1, 303))] * 2


async def test_nothing_is_counted_for_a_thread_that_is_live_and_has_no_readers(pool: Any) -> None:
    async with started_run(pool) as on:
        subscription = await on.broadcaster.subscribe(on.thread_id, 0)
        on.put(Token(text="x"))
        await on.log.flush()
        for segment in await subscription.available():
            async for _ in subscription.legacy_pieces(segment, CODEC, LINES):
                pass
        assert on.broadcaster.shared_bytes > 0
        subscription.close()
        assert on.broadcaster.shared_bytes == 0


async def test_a_thread_that_changed_while_nobody_followed_it_is_read_again(pool: Any) -> None:
    """A database that lost the end of a run, which then ended otherwise."""
    async with started_run(pool) as on:
        await write_tokens(on, 5)
        followed = Followed(on)
        await read_all(await followed.subscribe())
        reads = len(followed.reader.reads)
        await pool.execute("UPDATE runs SET epoch = epoch + 1 WHERE thread_id = $1", on.thread_id)
        await read_all(await followed.subscribe())
        assert len(followed.reader.reads) > reads


async def test_progress_wakes_readers_once_a_second_and_shows_the_newest(pool: Any) -> None:
    clock = HandClock()
    async with started_run(pool) as on:
        broadcaster = Broadcaster(on.journal, clock)
        subscription = await broadcaster.subscribe(on.thread_id, 1)
        for number in range(100):
            broadcaster.show_progress(on.thread_id, f"step {number}")
        assert await subscription.step() == Heartbeat(1, "step 0")
        waiting = asyncio.create_task(subscription.step())
        await broadcaster.send_progress()
        await asyncio.sleep(0)
        assert not waiting.done()
        clock.move(1.0)
        await broadcaster.send_progress()
        assert await waiting == Heartbeat(1, "step 99")
        clock.move(1.0)
        broadcaster.show_progress(on.thread_id, "x" * 100_000)
        assert await subscription.step() == Heartbeat(1, "x" * 500)
        subscription.close()
