"""Frames that one release of the hub keeps uninterpreted are released by the next one, once and at their
worth."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from server.clock import SystemClock
from server.compiled.spliced import SplicingInterpreter
from server.db.journal import PostgresJournal
from server.db.quarantine import PostgresQuarantineStore
from server.db.retention import PostgresRetentionStore
from server.domain.errors import LeaseLost, NotFound
from server.domain.journal.events import Event, FrameReason, StateUpdate, Terminal, Token, UpstreamFrame
from server.domain.journal.retention import Piece
from server.domain.model import Principal, ProposalStatus, Refinement
from server.domain.quarantine.backlog import Backlog
from server.domain.quarantine.entries import Kept, PutBack, Release
from server.domain.quarantine.quarantine import Quarantine
from server.domain.quarantine.shapes import shape_of
from server.domain.runs.runtime import Interpretation
from server.encoding.event_batch import delimited_event
from server.wire.codec import ProtobufCodec
from tests.support.commands import Commands, Ideo
from tests.support.driven import Driven, driven, verdict
from tests.support.runtime import (
    END,
    SILENCE,
    Answer,
    Runtime,
    Stream,
    files_frame,
    serve_runtime,
    state_frame,
    token_frame,
)
from tests.support.stored import a_running_run

CODEC = ProtobufCodec()
PROMPT = "a prompt that nobody else is to read"


class EarlierInterpreter(SplicingInterpreter):
    """That of a release which does not know frames with the member `form`, and of which the present one knows
    all others."""

    def interpret(self, frame: bytes) -> Interpretation:
        value = json.loads(frame)
        if "form" not in value:
            return super().interpret(frame)
        return self._uninterpreted(frame, value["event_type"], FrameReason.UNKNOWN_TYPE)

    def token_entries(self, *args: Any, **kwargs: Any) -> None:
        return None


def new(frame: dict[str, Any]) -> dict[str, Any]:
    """The frame in a form that only the present release knows."""
    return {**frame, "form": 2}


class OpenRuntime(Runtime):
    """A runtime whose run goes on: every connection gets all frames so far."""

    def __init__(self, *frames: dict[str, Any] | str) -> None:
        self.frames = list(frames)

    async def state(self, thread_id: str) -> Answer:
        return 200, {"status": "running", "generated_files": {}}

    async def stream(self, stream: Stream) -> None:
        await stream.accept()
        for frame in self.frames:
            if frame == SILENCE:
                await stream.silence()
            await stream.send(json.dumps(frame).encode())


def quarantine_of(on: Driven) -> Quarantine:
    return Quarantine(PostgresQuarantineStore(on.core.pool), on.core.journal, CODEC, SplicingInterpreter)


@asynccontextmanager
async def hub(runtime: Runtime, database: str, pool: Any, *, earlier: bool = False) -> AsyncIterator[Driven]:
    """A replica of the earlier or of the present release."""
    settings: dict[str, Any] = {"runtime_profile": "full", "run_idle_s": 30.0, "lease_ttl_s": 2.0}
    async with serve_runtime(runtime) as url, driven(url, database, pool, **settings) as on:
        if earlier:
            on.core.runner.context = replace(on.core.runner.context, interpreter=EarlierInterpreter)
        yield on


def operator(database: str) -> Ideo:
    """The commands of an operator, beside the database."""
    return Commands({"DATABASE_URL": database}).ideo


async def events_of(on: Driven, thread_id: UUID, count: int = 1) -> Sequence[Event]:
    """The events of a run that goes on, once there are so many."""
    async with asyncio.timeout(60):
        while True:
            found = [
                CODEC.decode(event)
                for segment in await on.core.journal.read_after(thread_id, 0, max_bytes=1 << 20)
                for event in segment.events()
            ]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.02)


async def left_open(runtime: OpenRuntime, database: str, pool: Any) -> tuple[Refinement, Principal]:
    """A run that the earlier release has followed so far, and which goes on; and its user."""
    async with hub(runtime, database, pool, earlier=True) as before:
        started = await before.start(PROMPT)
        sent = sum(frame != SILENCE for frame in runtime.frames)
        await events_of(before, started.thread_id, 1 + sent)
    return started, before.user


async def all_released(quarantine: Quarantine, shape_id: str) -> None:
    """Wait until nothing of the shape waits."""
    async with asyncio.timeout(60):
        while (await quarantine.group(shape_id)).waiting:
            await asyncio.sleep(0.02)


def paths(event: Event) -> list[str]:
    assert isinstance(event.kind, StateUpdate)
    return [change.path for change in event.kind.files]


async def test_frames_are_grouped_by_shape_and_their_content_is_shown_only_when_asked_for(
    database: str, pool: Any
) -> None:
    odd: list[dict[str, Any]] = [
        {"event_type": "thought", "data": {"text": PROMPT, "level": 1}},
        {"event_type": "thought", "data": {"text": "other", "level": 2}},
        {"event_type": "thought", "data": {"text": None, "level": 2}},
        {"event_type": "on_llm_stream", "data": 3},
    ]
    runtime = OpenRuntime(*odd, files_frame(a="1"), END)
    async with hub(runtime, database, pool) as on:
        started = await on.start(PROMPT)
        await on.outcome(started)
        groups = (await quarantine_of(on).groups(handled=False, limit=10)).items
        assert sorted((group.reason, group.event_type, group.structure, group.count) for group in groups) == [
            ("malformed", "on_llm_stream", "{data: num, event_type: str}", 1),
            ("unknown_type", "thought", "{data: {level: num, text: null}, event_type: str}", 1),
            ("unknown_type", "thought", "{data: {level: num, text: str}, event_type: str}", 2),
        ]
        assert PROMPT not in repr(groups)
        backlog = Backlog(PostgresQuarantineStore(on.core.pool))
        await backlog.count()
        assert (backlog.frames, backlog.shapes) == (4, 3)
    shape = next(group.shape_id for group in groups if group.count == 2)
    ideo = operator(database)
    code, output, messages = await ideo("quarantine", "ls")
    assert (code, messages) == (0, "")
    assert f"{shape}  unknown type thought  2 of 2 frames wait" in output
    assert f"such as {started.thread_id} 2" in output
    code, output, _ = await ideo("quarantine", "show", shape)
    assert (code, PROMPT in output) == (0, False)
    code, output, _ = await ideo("quarantine", "show", shape, "--content")
    assert (code, json.loads(output)) == (0, odd[0])
    code, _, messages = await ideo("quarantine", "release", "0" * 16)
    assert code == 1
    assert "the quarantine has no frame of this shape" in messages
    # Still not understood.
    code, output, messages = await ideo("quarantine", "release", shape)
    assert code == 1
    assert output.count("not understood") == 2
    assert "2 frames are left" in messages
    completion = {
        "_IDEO_COMPLETE": "zsh_complete",
        "COMP_WORDS": "ideo quarantine show ",
        "COMP_CWORD": "3",
    }
    code, output, _ = await ideo(**completion)
    assert shape in output


async def test_a_kept_state_of_an_open_run_is_journalled_once_and_the_run_ends_with_its_files(
    database: str, pool: Any
) -> None:
    runtime = OpenRuntime(files_frame(a="1"), new(files_frame(a="1", b="2")), SILENCE)
    started, user = await left_open(runtime, database, pool)
    async with hub(runtime, database, pool) as on:
        ideo = operator(database)
        [group] = (await quarantine_of(on).groups(handled=False, limit=10)).items
        for _ in range(2):
            code, output, messages = await ideo("quarantine", "release", group.shape_id)
            assert (code, messages) == (0, "")
            assert "0 of 1 frames wait, 1 journalled" in output
        events = await events_of(on, started.thread_id, 4)
        assert [type(event.kind) for event in events[1:]] == [StateUpdate, UpstreamFrame, StateUpdate]
        assert paths(events[3]) == ["/b"]
        [frame] = (await quarantine_of(on).frames(group.shape_id, limit=10)).items
        assert (frame.outcome, frame.outcome_seq) == (Release.JOURNALLED, 4)
        assert (await quarantine_of(on).groups(handled=False, limit=10)).items == ()
    # The next owner, and the next state, continue from there.
    runtime.frames[2:] = [files_frame(a="1", b="2", c="3"), END]
    async with hub(runtime, database, pool) as on:
        on.user = user
        proposal, events = await on.outcome(started)
        assert verdict(proposal) == ("completed", None, {"/a": "1", "/b": "2", "/c": "3"})
        assert paths(events[4]) == ["/c"]
        assert isinstance(events[-1].kind, Terminal)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))


async def test_what_something_later_has_replaced_is_not_journalled(database: str, pool: Any) -> None:
    runtime = OpenRuntime(
        new(files_frame(a="old")),
        new(token_frame("Hel")),
        files_frame(a="new"),
        new(token_frame("lo")),
        new(state_frame(messages="Execution in progress... (1.0s)", status="running")),
        SILENCE,
    )
    started, _ = await left_open(runtime, database, pool)
    async with hub(runtime, database, pool) as on:
        quarantine = quarantine_of(on)
        for group in (await quarantine.groups(handled=False, limit=10)).items:
            assert (await quarantine.release(group.shape_id, limit=10)).reports == []
            await all_released(quarantine, group.shape_id)
        outcomes = {
            frame.seq: frame.outcome
            for group in (await quarantine.groups(handled=True, limit=10)).items
            for frame in (await quarantine.frames(group.shape_id, limit=10)).items
        }
        assert outcomes == {
            2: Release.SUPERSEDED,
            3: Release.SUPERSEDED,
            5: Release.JOURNALLED,
            6: Release.SUPERSEDED,
        }
        events = await events_of(on, started.thread_id, 7)
        assert len(events) == 7
        assert isinstance(events[6].kind, Token)
        assert events[6].kind.text == "lo"


async def test_several_kept_states_are_put_back_in_their_order(database: str, pool: Any) -> None:
    runtime = OpenRuntime(*(new(files_frame(a=str(number))) for number in range(1, 4)), SILENCE)
    started, _ = await left_open(runtime, database, pool)
    async with hub(runtime, database, pool) as on:
        quarantine = quarantine_of(on)
        [group] = (await quarantine.groups(handled=False, limit=10)).items
        assert (await quarantine.release(group.shape_id, limit=10)).requested == 3
        await all_released(quarantine, group.shape_id)
        events = await events_of(on, started.thread_id, 7)
    texts = [
        change.file.text
        for event in events
        if isinstance(event.kind, StateUpdate)
        for change in event.kind.files
        if change.file is not None
    ]
    assert texts == ["1", "2", "3"]


async def test_of_an_ended_run_it_is_told_what_would_have_come_and_nothing_changes(
    database: str, pool: Any
) -> None:
    runtime = OpenRuntime(
        files_frame(a="1"), new(files_frame(a="1", b="2")), new(token_frame("Hello")), files_frame(a="1"), END
    )
    async with hub(runtime, database, pool, earlier=True) as on:
        started = await on.start(PROMPT)
        proposal, events = await on.outcome(started)
        assert proposal.status is ProposalStatus.COMPLETED
        shapes = [group.shape_id for group in (await quarantine_of(on).groups(handled=False, limit=10)).items]
        ideo = operator(database)
        shown = ""
        for shape in shapes:
            code, output, messages = await ideo("quarantine", "release", shape)
            assert (code, messages) == (0, "")
            shown += output
        assert f"{started.thread_id}      3  a state with 1 files\n" in shown
        assert f"{started.thread_id}      4  a token of 5 characters\n" in shown
        assert "0 of 1 frames wait, 1 reported" in shown
        again, same = await on.outcome(started)
        assert (again, same) == (proposal, events)


async def test_what_is_noted_goes_with_the_journal(database: str, pool: Any) -> None:
    runtime = OpenRuntime({"event_type": "thought", "data": {}}, files_frame(a="1"), END)
    async with hub(runtime, database, pool) as on:
        started = await on.start(PROMPT)
        await on.outcome(started)
        quarantine = quarantine_of(on)
        [group] = (await quarantine.groups(handled=False, limit=10)).items
        await pool.execute("UPDATE runs SET finished_at = now() - interval '2 days'")
        await PostgresRetentionStore(pool).remove(timedelta(days=1), Piece())
        with pytest.raises(NotFound):
            await quarantine.group(group.shape_id)
        with pytest.raises(NotFound):
            await quarantine.content(*group.example)


async def test_a_release_that_is_asked_for_while_nobody_drives_the_run_is_the_next_owners(
    database: str, pool: Any
) -> None:
    runtime = OpenRuntime(new(files_frame(a="1")), SILENCE)
    started, _ = await left_open(runtime, database, pool)
    store = PostgresQuarantineStore(pool)
    [group] = (await store.groups(handled=False, limit=10)).items
    assert await store.request_release(group.shape_id) == 1
    for _ in range(2):
        # The second owner has nothing left to do.
        async with hub(runtime, database, pool) as on:
            await all_released(quarantine_of(on), group.shape_id)
            events = await events_of(on, started.thread_id, 3)
    assert [type(event.kind) for event in events[1:]] == [UpstreamFrame, StateUpdate]


async def test_a_scan_notes_what_an_earlier_release_kept_and_nothing_twice(database: str, pool: Any) -> None:
    runtime = OpenRuntime({"event_type": "thought", "data": {}}, files_frame(a="1"), END)
    async with hub(runtime, database, pool) as on:
        started = await on.start(PROMPT)
        await on.outcome(started)
        noted = await pool.fetch(
            "SELECT thread_id, seq, shape_id, structure, size_bytes FROM quarantined_frames"
        )
        await pool.execute("DELETE FROM quarantined_frames")
        ideo = operator(database)
        assert await ideo("quarantine", "scan") == (0, "1 frame noted\n", "")
        assert await ideo("quarantine", "scan") == (0, "0 frames noted\n", "")
        again = await pool.fetch(
            "SELECT thread_id, seq, shape_id, structure, size_bytes FROM quarantined_frames"
        )
        assert again == noted
        [group] = (await quarantine_of(on).groups(handled=False, limit=10)).items
        events = await events_of(on, started.thread_id)
        assert group.first_at == events[1].time


async def test_a_note_is_stored_with_its_event_and_not_under_a_lost_lease(pool: Any) -> None:
    shape = shape_of(UpstreamFrame("x", FrameReason.UNKNOWN_TYPE, b"{}"))
    assert shape is not None
    journal = PostgresJournal(pool, SystemClock(), lease_ttl_s=15)
    async with journal.writing():
        leases = [await a_running_run(pool) for _ in range(2)]
        logs = [journal.open(lease) for lease in leases]
        for log in logs:
            log.put(delimited_event(b"kept"), b"", epoch=1, quarantine=Kept(2, shape, 2))
            await log.flush()
        await pool.execute("UPDATE runs SET fence = fence + 1 WHERE thread_id = $1", leases[1].thread_id)
        for log in logs:
            log.put(delimited_event(b"put back"), b"", epoch=1, quarantine=PutBack(2, 3))
        await logs[0].flush()
        with pytest.raises(LeaseLost):
            await logs[1].flush()
        # A database that lost the last commit, and one that lost both.
        for last_seq in (2, 1):
            await pool.execute(
                "DELETE FROM events WHERE thread_id = $1 AND last_seq > $2", leases[0].thread_id, last_seq
            )
            await pool.execute(
                "UPDATE runs SET last_seq = $2 WHERE thread_id = $1", leases[0].thread_id, last_seq
            )
            undone = "outcome = NULL, outcome_seq = NULL" if last_seq == 2 else None
            await pool.execute(
                f"UPDATE quarantined_frames SET {undone} WHERE thread_id = $1"
                if undone
                else "DELETE FROM quarantined_frames WHERE thread_id = $1",
                leases[0].thread_id,
            )
            await journal.restore_lost_commits()
            frames = (await PostgresQuarantineStore(pool).frames(shape.id, limit=10)).items
            found = {frame.thread_id: (frame.outcome, frame.outcome_seq) for frame in frames}
            assert found == {
                leases[0].thread_id: (Release.JOURNALLED, 3),
                leases[1].thread_id: (None, None),
            }
