"""A kept frame is put back only as far as nothing later has replaced what it says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.journal.events import (
    Discontinuity,
    DiscontinuityReason,
    EventKind,
    FrameReason,
    StateUpdate,
    Token,
    UnreadFile,
    UpstreamFrame,
)
from server.domain.quarantine.entries import Release
from server.domain.runs.runtime import Interpretation
from server.domain.runs.superseding import Superseding
from server.frames.interpreter import Interpreter

STATE = StateUpdate(message_count=1, extra={"a": "1"}, unread_files=(UnreadFile("/x", "1"),))
FILES = StateUpdate(message_count=1, unread_files=(UnreadFile("/x", "1"),))
TALK = StateUpdate(extra={"a": "1"})
TOKEN, GAP = Token(text="x"), Discontinuity(DiscontinuityReason.RECONNECTED)


@pytest.mark.parametrize(
    ("later", "delta", "put_back", "state", "talk", "token"),
    [
        (None, b"", False, STATE, TALK, TOKEN),
        (GAP, b"", False, STATE, TALK, TOKEN),
        (STATE, b"x", False, None, None, None),
        # A state without a file map leaves the files.
        (TALK, b"x", False, FILES, None, None),
        (TOKEN, b"x", False, STATE, TALK, None),
        # The files of the runtime's state are newer; what was put back is as old as its frame.
        (STATE, b"", False, None, None, TOKEN),
        (STATE, b"", True, STATE, TALK, TOKEN),
        (TOKEN, b"", True, STATE, TALK, TOKEN),
    ],
)
def test_what_is_left_of_a_kept_frame(
    later: EventKind | None,
    delta: bytes,
    put_back: bool,
    state: StateUpdate | None,
    talk: StateUpdate | None,
    token: Token | None,
) -> None:
    found = Superseding()
    found.note(3, STATE, b"x", shows_files=True)
    found.note(4, TOKEN, b"x", shows_files=True)
    if later is not None:
        found.note(6, later, delta, shows_files=later is STATE)
    if put_back:
        found.note_put_back([6])
    for kind, left in ((STATE, state), (TALK, talk), (TOKEN, token)):
        outcome = Release.SUPERSEDED if left is None else Release.JOURNALLED
        assert found.left_of(5, Interpretation((kind,))) == (outcome, left)
        assert found.left_of(2, Interpretation((kind,))) == (Release.SUPERSEDED, None)


def test_tokens_that_differ_in_their_text_alone_replace_an_earlier_one() -> None:
    found = Superseding()
    found.token_seq = 9
    assert found.left_of(8, Interpretation((TOKEN,))) == (Release.SUPERSEDED, None)
    assert found.left_of(8, Interpretation((STATE,))) == (Release.JOURNALLED, STATE)


def test_a_frame_that_is_still_not_understood_stays() -> None:
    kept = UpstreamFrame("x", FrameReason.UNKNOWN_TYPE, b"{}")
    assert Superseding().left_of(1, Interpretation((kept,))) == (None, None)
    assert Superseding().left_of(1, Interpretation(progress="x")) == (Release.SUPERSEDED, None)


NAMES = st.sampled_from("abc")
STATES = st.fixed_dictionaries(
    {},
    optional={
        "files": st.dictionaries(NAMES.map("/{}".format), st.sampled_from(["1", "2", "3"]), max_size=3),
        "messages": st.just("[]"),
    },
)


@given(st.lists(st.tuples(STATES, st.booleans()), max_size=8), st.integers(0, 8))
def test_after_a_release_the_files_are_those_of_a_hub_that_understood_everything(
    states: list[tuple[dict[str, Any], bool]], taken_over: int
) -> None:
    """Each state is kept uninterpreted, or not. The owner changes in the middle of the release."""
    frames = [json.dumps({"event_type": "on_state_update", "data": data}).encode() for data, _ in states]
    knowing, owner, found = Interpreter(), Interpreter(), Superseding()
    journal: list[tuple[EventKind, bytes]] = []
    kept: list[int] = []

    def put(kind: EventKind, delta: bytes) -> None:
        journal.append((kind, delta))
        found.note(len(journal), kind, delta, shows_files=owner.shows_files)

    for frame, (_, understood) in zip(frames, states, strict=True):
        knowing.interpret(frame)
        if understood:
            meaning = owner.interpret(frame)
            put(meaning.kinds[0], meaning.delta)
        else:
            kind = UpstreamFrame("on_state_update", FrameReason.UNKNOWN_TYPE, frame)
            put(kind, owner._deltas.encode_event_body(frame))
            kept.append(len(journal))
    put_back: list[int] = []
    for number, seq in enumerate(kept):
        if number == taken_over:
            owner, found = Interpreter(), Superseding()
            for at, (kind, delta) in enumerate(journal, 1):
                owner.restore(kind, delta)
                found.note(at, kind, delta, shows_files=owner.shows_files)
            found.note_put_back(put_back)
        outcome, event = found.left_of(seq, owner.reinterpret(frames[seq - 1]))
        assert outcome is not None
        if event is not None:
            put(event, b"")
            put_back.append(len(journal))
            found.note_put_back(put_back)
            owner.restore(event, b"")
    assert owner.files.by_path == knowing.files.by_path
    restored = Interpreter()
    for kind, delta in journal:
        restored.restore(kind, delta)
    assert restored.files.by_path == owner.files.by_path
