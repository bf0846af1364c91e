"""FrameReconstructor: differences, tracks, and the frames given back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.journal.events import (
    FileChange,
    FrameReason,
    Outcome,
    StateUpdate,
    Terminal,
    Token,
    UnreadFile,
    UpstreamFrame,
)
from server.domain.journal.frame_reconstruction import FrameReconstructor
from server.domain.proposals.files import File
from server.encoding.frame_delta import (
    DEFLATE_FROM_BYTES,
    FILES_PLACEHOLDER,
    MEMBERS_PLACEHOLDER,
    MESSAGES_PLACEHOLDER,
    DeltaContext,
    Encoding,
    digest_of,
    encode_delta,
    frame_digest,
)
from server.encoding.json_text import load
from server.encoding.legacy_frame import with_seq

FEW = st.text("ab", max_size=12).map(str.encode) | st.binary(max_size=400)
SKELETON = (
    b'{"event_type":"on_state_update","data":{"messages":'
    + MESSAGES_PLACEHOLDER
    + b',"files":'
    + FILES_PLACEHOLDER
    + b"}}"
)


@given(st.lists(FEW, max_size=8))
def test_a_track_gives_back_what_was_written(frames: list[bytes]) -> None:
    writer, reader = DeltaContext(), DeltaContext()
    for frame in frames:
        assert reader.decode(writer.encode_token(frame)) == (Encoding.TOKEN, frame)


@given(FEW, FEW, st.integers(0, 3000))
def test_a_delta_is_not_longer_than_what_is_new(head: bytes, tail: bytes, size: int) -> None:
    old, new = head + tail, head + b"x" * size + tail
    assert len(encode_delta(old, new)) <= 12 + min(size, DEFLATE_FROM_BYTES)


@given(st.lists(st.tuples(FEW, FEW | st.none()), max_size=6))
def test_a_state_frame_comes_back_with_its_messages_and_the_hole_for_files(
    states: list[tuple[bytes, bytes | None]],
) -> None:
    writer, reader = DeltaContext(), DeltaContext()
    for rest, messages in states:
        skeleton = (
            rest.replace(b"\0", b"") + (b"" if messages is None else MESSAGES_PLACEHOLDER) + FILES_PLACEHOLDER
        )
        delta = writer.encode_state(b"frame", skeleton, messages)
        expected = skeleton if messages is None else skeleton.replace(MESSAGES_PLACEHOLDER, messages)
        assert reader.decode(delta) == (Encoding.STATE, expected)


def test_the_digest_is_of_the_frame_as_it_came() -> None:
    for delta in (
        DeltaContext().encode_token(b"frame", b"proper"),
        DeltaContext().encode_full_text(b"frame", b"proper"),
        DeltaContext().encode_event_body(b"frame"),
        DeltaContext().encode_state(b"frame", b"skeleton", None),
    ):
        assert digest_of(delta) == frame_digest(b"frame")
    assert digest_of(b"") is None


def test_a_copy_goes_on_by_itself() -> None:
    tracks = DeltaContext()
    deltas = [tracks.encode_token(b'{"a":%d}' % number) for number in range(3)]
    told = FrameReconstructor()
    told.frames_for(1, deltas[0], Token())
    other = told.copy()
    assert (
        told.frames_for(2, deltas[1], Token())
        == other.frames_for(2, deltas[1], Token())
        == [b'{"a":1,"seq":2}']
    )
    assert told.frames_for(3, deltas[2], Token()) == [b'{"a":2,"seq":3}']
    assert other.seq == 2


def test_a_retelling_goes_in_order() -> None:
    with pytest.raises(ValueError, match="in order"):
        FrameReconstructor().frames_for(2, b"", None)


def test_files_are_given_whole_though_kept_as_changes() -> None:
    tracks, reconstructor = DeltaContext(), FrameReconstructor()
    steps = [
        (
            FileChange("/a", File(b"1\n"), added=True),
            FileChange("/b", File(b"\xff", is_text=False), added=True),
        ),
        (FileChange("/a", File(b"2")),),
        (FileChange("/b", None),),
    ]
    maps = []
    for seq, changes in enumerate(steps, start=1):
        (frame,) = reconstructor.frames_for(
            seq, tracks.encode_state(b"x", SKELETON, b"[]"), StateUpdate(files=changes)
        )
        maps.append(json.loads(frame)["data"]["files"])
    assert maps == [
        {"/a": {"content": ["1", ""]}, "/b": {"content": ["/w=="], "encoding": "base64"}},
        {"/a": {"content": ["2"]}, "/b": {"content": ["/w=="], "encoding": "base64"}},
        {"/a": {"content": ["2"]}},
    ]


@pytest.mark.parametrize("files", [(), (FileChange("/odd", File(b"x"), added=True),)])
def test_an_entry_that_is_not_a_file_is_given_as_it_came(files: tuple[FileChange, ...]) -> None:
    skeleton = b'{"event_type":"on_state_update","data":{"files":{' + MEMBERS_PLACEHOLDER + b'"/odd":7}}}'
    kind = StateUpdate(files=files, unread_files=(UnreadFile("/odd", "7"),))
    (frame,) = FrameReconstructor().frames_for(1, DeltaContext().encode_state(b"x", skeleton, None), kind)
    assert json.loads(frame)["data"] == {"files": {"/odd": 7}}


def test_files_that_the_hub_learnt_without_a_frame_come_in_a_frame_of_the_hubs() -> None:
    reconstructor = FrameReconstructor()
    (frame,) = reconstructor.frames_for(
        1, b"", StateUpdate(files=(FileChange("/a", File(b"x"), added=True),))
    )
    assert json.loads(frame) == {
        "event_type": "on_state_update",
        "data": {"files": {"/a": {"content": ["x"]}}},
        "seq": 1,
    }


def test_a_failure_that_the_runtime_did_not_report_comes_before_the_end() -> None:
    failed = Terminal(Outcome.FAILED, "deadline_exceeded", "too long")
    error, end = map(json.loads, FrameReconstructor().frames_for(1, b"", failed))
    # Two frames of one event: only the last one moves the reader's cursor.
    assert error == {
        "event_type": "error",
        "data": {"error": "too long", "context": "deadline_exceeded"},
    }
    assert end == {"event_type": "end", "data": {}, "seq": 1}


def test_a_failure_that_the_runtime_reported_comes_once() -> None:
    reconstructor, tracks = FrameReconstructor(), DeltaContext()
    body = b'{"event_type":"error","data":{}}'
    reconstructor.frames_for(
        1, tracks.encode_event_body(body), UpstreamFrame("error", FrameReason.ERROR_REPORT, body)
    )
    end = tracks.encode_full_text(b'{"event_type":"end","data":{}}')
    told = reconstructor.frames_for(2, end, Terminal(Outcome.FAILED, "upstream_error", "x"))
    assert told == [b'{"event_type":"end","data":{},"seq":2}']


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (b'{"a":1}', {"a": 1, "seq": 7}),
        (b' { "a" : 1 }\n', {"a": 1, "seq": 7}),
        (b"{}", {"seq": 7}),
        (b'{"a":1,"seq":3}', {"a": 1, "seq": 7}),
        (b'{"a":"\\"seq\\""}', {"a": '"seq"', "seq": 7}),
        (b'{"a":{"seq":1}}', {"a": {"seq": 1}, "seq": 7}),
        (b'{"a":[NaN,1e999,-Infinity]}', {"a": ["NaN", "1e999", "-Infinity"], "seq": 7}),
        (b"[1]", {"event_type": "unknown", "data": {"raw": "[1]"}, "seq": 7}),
        (b"", {"event_type": "unknown", "data": {"raw": ""}, "seq": 7}),
        (b'{"a":"\xff"}', {"event_type": "unknown", "data": {"raw": '{"a":"\ufffd"}'}, "seq": 7}),
        (b'{\0"\0}\0', {"event_type": "unknown", "data": {"raw": '{\0"\0}\0'}, "seq": 7}),
    ],
)
def test_any_frame_is_a_json_object_with_its_seq(frame: bytes, told: object) -> None:
    assert json.loads(with_seq(frame, 7, trusted=False)) == told


def test_numbers_that_json_cannot_carry_become_strings() -> None:
    assert load("[1.5,-0.0,1e400,NaN]") == [1.5, -0.0, "1e400", "NaN"]
