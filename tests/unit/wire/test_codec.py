from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.journal.events import (
    AgentMessage,
    Event,
    FileChange,
    MessageChange,
    Role,
    StateUpdate,
    Token,
    ToolCallPiece,
    UnreadFile,
)
from server.domain.proposals.files import File, text_bytes
from server.wire import messages as m
from server.wire.codec import ProtobufCodec
from server.wire.file_updates import serialised
from server.wire.text import get_time, rfc3339, set_time
from tests.unit.wire import event_strategies as some

NOW = datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC)
codec = ProtobufCodec()


@given(some.events())
def test_decoding_gives_the_event_back(event: Event) -> None:
    assert codec.decode(codec.encode(event)) == event


@given(some.events(text=some.ANY, number=st.integers()))
def test_every_event_has_bytes_and_the_same_ones_each_time(event: Event) -> None:
    data = codec.encode(event)
    assert codec.encode(event) == data
    # What comes out is clean, so from here on it is exact.
    clean = codec.decode(data)
    assert codec.decode(codec.encode(clean)) == clean


def test_lone_surrogates_of_a_token_are_replaced_and_marked() -> None:
    token = Token("m\ud800", Role.AI, "a\udfffb", (ToolCallPiece(0, "", "", "\ud800"),))
    seen = codec.decode(codec.encode(Event(1, 1, NOW, token))).kind
    assert seen == Token(
        "m\ufffd", Role.AI, "a\ufffdb", (ToolCallPiece(0, "", "", "\ufffd"),), uninterpreted=True
    )


def test_lone_surrogates_of_a_message_are_replaced_and_marked() -> None:
    update = StateUpdate((MessageChange(0, AgentMessage(text="a\ud800")),), 1)
    seen = codec.decode(codec.encode(Event(1, 1, NOW, update))).kind
    assert isinstance(seen, StateUpdate)
    assert seen.messages[0].message == AgentMessage(text="a\ufffd", uninterpreted=True)


@given(st.lists(some.file_changes(some.ANY), max_size=3))
def test_changes_of_files_are_the_same_when_decoded(changes: list[FileChange]) -> None:
    update = StateUpdate(files=tuple(changes))
    assert codec.decode(codec.encode(Event(1, 1, NOW, update))).kind == update


@given(st.lists(some.file_changes() | some.file_changes(some.ANY), max_size=3), st.integers(0, 1 << 33))
def test_changes_of_files_alone_have_the_librarys_bytes(changes: list[FileChange], count: int) -> None:
    data = codec.encode(Event(1, 1, NOW, StateUpdate(message_count=count, files=tuple(changes))))
    assert m.Event.FromString(data).SerializeToString(deterministic=True) == data


def test_changes_of_text_files_alone_need_no_message() -> None:
    text, named = File("é\n".encode(), True, "t", "u"), StateUpdate(message_count=2)
    for files in ((FileChange("/a", text),), (FileChange("/a", File(b""), added=True),) * 2):
        assert serialised(Event(1, 1, NOW, replace(named, files=files))) is not None
    for file in (None, File(b"b", False), File(b"\xed\xa0\x80"), replace(text, extra={"x": "1"})):
        assert serialised(Event(1, 1, NOW, replace(named, files=(FileChange("/a", file),)))) is None
    change = FileChange("/a", text)
    named = replace(named, files=(change,))
    for other in (
        replace(named, todos=()),
        replace(named, extra={"n": "1"}),
        replace(named, unread_files=(UnreadFile("/u", "1"),)),
    ):
        assert serialised(Event(1, 1, NOW, other)) is None


def test_a_message_says_exactly_what_its_strings_cannot() -> None:
    file = File(text_bytes("a\ud800b"), True, "", "t", {"\udfff": "1"})
    update = StateUpdate(files=(FileChange("/\ud801", file), FileChange("/b", File(b"plain", True, "t"))))
    sent = m.Event.FromString(codec.encode(Event(1, 1, NOW, update))).state_update.files
    assert (sent[0].path, sent[0].text, sent[0].sanitized) == ("/\ufffd", "a\ufffdb", True)
    assert json.loads(sent[0].exact) == {
        "path": "/\ud801",
        "text": "a\ud800b",
        "created_at": "",
        "extra": {"\udfff": "1"},
    }
    assert sent[1].exact == ""


def test_an_event_of_a_kind_that_this_version_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="event 7 is of a kind"):
        codec.decode(m.Event(seq=7).SerializeToString())


@pytest.mark.parametrize("data", [b"\xff", b"\x0a", b"\x08"])
def test_bytes_that_are_not_an_event_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a serialised event|of a kind"):
        codec.decode(data)


def test_words_of_a_newer_writer_are_read_as_the_nearest_harmless_one() -> None:
    message = m.Event(seq=1, epoch=1, token=m.Token(role=99))  # type: ignore[arg-type]
    assert codec.decode(message.SerializeToString()).kind == Token(role=Role.UNSPECIFIED)


@given(some.TIMES)
def test_times_are_exact_to_the_microsecond_and_read_like_proto_json(time: datetime) -> None:
    stamp = m.Timestamp()
    set_time(stamp, time)
    assert get_time(stamp) == time
    assert rfc3339(time) == stamp.ToJsonString()
