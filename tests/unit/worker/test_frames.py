"""A frame means the same whether the hub interprets it or its worker does."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.domain.journal.events import (
    Event,
    EventKind,
    InputAnswered,
    InputRequested,
    StateUpdate,
    UpstreamFrame,
)
from server.domain.journal.frame_reconstruction import FrameReconstructor
from server.domain.runs.frame_worker import FramePlace
from server.domain.runs.journal_entries import JournalEntry, entry_of
from server.encoding.event_batch import read_varint
from server.encoding.frame_delta import digest_of
from server.frames.interpreter import Interpreter
from server.wire.codec import ProtobufCodec
from server.worker.frames import MAX_KEPT_BYTES, read_frame, with_bodies
from tests.hostile.attacks.recordings import frames_of
from tests.support.legacy_frames import frames_for
from tests.support.recordings import NAMES, frames
from tests.support.runtime import state_frame
from tests.unit.frames.test_interpreter_total import FRAMES
from tests.unit.frames.test_released_state import FRAMES as STATES

CODEC = ProtobufCodec()
EPOCH, NOON, EXPIRY = 3, datetime(2026, 3, 1, 12, tzinfo=UTC), datetime(2026, 3, 1, 13, tzinfo=UTC)


class Run:
    """A run's frames, of which each is interpreted here or as the worker does it; what the journal gets."""

    def __init__(self, room_bytes: int = MAX_KEPT_BYTES) -> None:
        self.interpreter, self.room_bytes = Interpreter(), room_bytes
        self.entries: list[JournalEntry] = []
        self.deltas: list[bytes] = []
        #: What the hub learns of each frame besides.
        self.learned: list[Any] = []

    def take(self, frame: bytes, *, elsewhere: bool) -> None:
        """Interpret a frame."""
        place = FramePlace(len(self.entries) + 1, EPOCH, NOON, EXPIRY, self.room_bytes)
        if elsewhere:
            sent = pickle.dumps(read_frame(*self.interpreter.dump(), frame, place))
            reading = with_bodies(pickle.loads(sent), frame)
            self.interpreter.advance(reading.change)
            meaning, entries = reading.meaning, reading.entries
        else:
            meaning = self.interpreter.interpret(frame)
            entries = tuple(
                entry_of(Event(seq, EPOCH, NOON, _expiring(kind)), CODEC)
                for seq, kind in enumerate(meaning.kinds, place.seq)
            )
        self.entries += entries
        self.deltas += [meaning.delta, b"", b""][: len(entries)]
        known = self.interpreter
        self.learned.append(
            (
                [type(kind) for kind in meaning.kinds],
                digest_of(meaning.delta),
                replace(meaning, kinds=(), delta=b""),
                (known.has_files, known.files_seen, known.files_unread),
                (known.shows_files, known.awaiting_input),
            )
        )

    def kinds(self) -> list[EventKind]:
        """What happened, as the journal has it."""
        return [CODEC.decode(_event(entry)).kind for entry in self.entries]

    def reconstructed(self) -> list[list[bytes]]:
        """The frames that readers of legacy frames get."""
        reconstructor = FrameReconstructor()
        return [
            list(frames_for(reconstructor, seq, delta, kind))
            for seq, (kind, delta) in enumerate(zip(self.kinds(), self.deltas, strict=True), 1)
        ]

    def paths(self) -> set[str]:
        """The paths of all files, those among them that only the journal has."""
        return {*self.interpreter.files.by_path, *self.interpreter.released_files}


def _event(entry: JournalEntry) -> bytes:
    _, at = read_varint(entry.event, 1)
    return entry.event[at:]


def _expiring(kind: EventKind) -> EventKind:
    return replace(kind, expires_at=EXPIRY) if isinstance(kind, InputRequested) else kind


def assert_the_same(sent: Sequence[bytes], elsewhere: Iterable[bool], room_bytes: int) -> Run:
    here, there = Run(), Run(room_bytes)
    for frame, is_elsewhere in zip(sent, elsewhere, strict=False):
        here.take(frame, elsewhere=False)
        there.take(frame, elsewhere=is_elsewhere)
    assert there.entries == here.entries
    assert there.learned == here.learned
    assert there.reconstructed() == here.reconstructed()
    assert there.paths() == here.paths()
    assert there.interpreter.files.unread == here.interpreter.files.unread
    return there


@settings(max_examples=60)
@given(
    st.lists(st.tuples(FRAMES | st.sampled_from(STATES), st.booleans()), max_size=8),
    st.sampled_from([0, MAX_KEPT_BYTES]),
)
def test_any_frames_mean_the_same(frames: list[tuple[bytes, bool]], room_bytes: int) -> None:
    there = assert_the_same([frame for frame, _ in frames], [is_there for _, is_there in frames], room_bytes)
    # A replica that takes the run over goes on in the same way.
    heir = Interpreter()
    for kind, delta in zip(there.kinds(), there.deltas, strict=True):
        heir.restore(kind, delta)
    assert (heir.files_unread, heir.awaiting_input) == (
        there.interpreter.files_unread,
        there.interpreter.awaiting_input,
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_means_the_same(name: str) -> None:
    sent = frames(name)
    elsewhere = (b'"on_state_update"' in frame or number % 20 == 0 for number, frame in enumerate(sent))
    assert_the_same(sent, elsewhere, MAX_KEPT_BYTES)


@pytest.mark.parametrize("name", ["irregular-messages", "large-text", "large-token", "line-ends", "not-json"])
def test_hostile_frames_mean_the_same(name: str) -> None:
    sent = frames_of(name)
    assert_the_same(sent * 2, [True, True, False, True], 64 << 20)


def test_a_question_that_was_answered_may_be_asked_again() -> None:
    asks = b'{"event_type":"on_state_update","data":{"__interrupt__":[{"value":"go on?"}]}}'
    run = Run()
    for _ in range(2):
        run.take(asks, elsewhere=True)
        run.take(asks, elsewhere=True)
        assert run.interpreter.awaiting_input
        run.interpreter.restore(InputAnswered(1, "", UUID(int=1), ()), b"")
        assert not run.interpreter.awaiting_input
    asked = [kind for kind in run.kinds() if isinstance(kind, InputRequested)]
    assert [kind.expires_at for kind in asked] == [EXPIRY] * 2


def test_only_what_has_room_is_given_back() -> None:
    state, larger = STATES[0], STATES[3]
    kept, released = Run(), Run(room_bytes=0)
    for run in (kept, released):
        run.take(state, elsewhere=True)
        run.take(larger, elsewhere=True)
    assert kept.interpreter.size_bytes > len(larger)
    assert released.interpreter.size_bytes < len(state)
    assert released.interpreter.released_files == {"/a": 1}


@pytest.mark.parametrize(("room_bytes", "is_read"), [(0, False), (64 << 20, True)])
def test_a_frame_is_kept_after_which_more_is_remembered_than_there_is_room_for(
    room_bytes: int, is_read: bool
) -> None:
    run = Run(room_bytes)
    many, few = ({f"/{number}": "x" for number in range(count)} for count in (12_000, 100))
    run.take(json.dumps(state_frame(files=many)).encode(), elsewhere=True)
    run.take(json.dumps(state_frame(files=few)).encode(), elsewhere=True)
    first, then = run.kinds()
    assert isinstance(first, StateUpdate if is_read else UpstreamFrame)
    assert isinstance(then, StateUpdate)
    assert len(then.files) == (11_900 if is_read else 100)
    assert run.interpreter.files.by_path.keys() == few.keys()
