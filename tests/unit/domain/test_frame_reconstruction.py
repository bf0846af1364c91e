"""FrameReconstructor: frames given back from events and deltas."""

from __future__ import annotations

import json

import pytest

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
from server.domain.journal.frame_reconstruction import FrameReconstructor, LegacyFile, member_texts
from server.domain.proposals.files import File
from server.encoding.frame_delta import (
    FILES_PLACEHOLDER,
    MEMBERS_PLACEHOLDER,
    MESSAGES_PLACEHOLDER,
    DeltaContext,
    frame_digest,
)
from tests.support.legacy_frames import frames_for

DIGEST = frame_digest(b"x")
SKELETON = (
    b'{"event_type":"on_state_update","data":{"messages":'
    + MESSAGES_PLACEHOLDER
    + b',"files":'
    + FILES_PLACEHOLDER
    + b"}}"
)


def test_a_copy_is_independent() -> None:
    context = DeltaContext()
    deltas = [context.encode_token(b'{"a":%d}' % number) for number in range(3)]
    frames = FrameReconstructor()
    frames_for(frames, 1, deltas[0], Token())
    other = frames.copy()
    assert (
        frames_for(frames, 2, deltas[1], Token())
        == frames_for(other, 2, deltas[1], Token())
        == [b'{"a":1,"seq":2}']
    )
    assert frames_for(frames, 3, deltas[2], Token()) == [b'{"a":2,"seq":3}']
    assert other.seq == 2


def test_frames_are_reconstructed_in_order() -> None:
    with pytest.raises(ValueError, match="in order"):
        frames_for(FrameReconstructor(), 2, b"", None)


def test_files_are_given_whole_though_kept_as_changes() -> None:
    context, reconstructor = DeltaContext(), FrameReconstructor()
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
        (frame,) = frames_for(
            reconstructor,
            seq,
            context.encode_state(DIGEST, SKELETON, b"[]"),
            StateUpdate(files=changes),
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
    (frame,) = frames_for(FrameReconstructor(), 1, DeltaContext().encode_state(DIGEST, skeleton, None), kind)
    assert json.loads(frame)["data"] == {"files": {"/odd": 7}}


def test_files_that_the_hub_learnt_without_a_frame_come_in_a_frame_of_the_hubs() -> None:
    reconstructor = FrameReconstructor()
    (frame,) = frames_for(
        reconstructor, 1, b"", StateUpdate(files=(FileChange("/a", File(b"x"), added=True),))
    )
    assert json.loads(frame) == {
        "event_type": "on_state_update",
        "data": {"files": {"/a": {"content": ["x"]}}},
        "seq": 1,
    }


def test_a_frame_of_too_many_values_is_given_as_a_text() -> None:
    body = b'{"event_type":"custom","data":["\\"\xc3\xb1",' + b"1," * 200_000 + b"1]}"
    kind = UpstreamFrame("", FrameReason.TOO_COMPLEX, body)
    delta = DeltaContext().encode_event_body(body)
    (frame,) = frames_for(FrameReconstructor(), 1, delta, kind)
    assert json.loads(frame) == {"event_type": "unknown", "data": {"raw": body.decode()}, "seq": 1}


@pytest.mark.parametrize(
    ("skeleton", "expected"),
    [
        (
            b'{"data":{"messages":%b,"files":%b,"of":{"seq":3}}}' % (MESSAGES_PLACEHOLDER, FILES_PLACEHOLDER),
            {"data": {"messages": "[]", "files": {"/a": {"content": ["x"]}}, "of": {"seq": 3}}},
        ),
        (
            b'{"data":{"files":{%b"/odd":7},"of":["seq"]},"seq":9}' % MEMBERS_PLACEHOLDER,
            {"data": {"files": {"/a": {"content": ["x"]}, "/odd": 7}, "of": ["seq"]}},
        ),
        (
            b'{"seq":2,"data":{"messages":%b,"of":"\\u0000M"}}' % MESSAGES_PLACEHOLDER,
            {"data": {"messages": "[]", "of": "\0M"}},
        ),
    ],
)
def test_a_frames_own_seq_is_replaced_and_others_inside_of_it_stay(
    skeleton: bytes, expected: dict[str, object]
) -> None:
    kind = StateUpdate(files=(FileChange("/a", File(b"x"), added=True),))
    delta = DeltaContext().encode_state(DIGEST, skeleton, b'"[]"')
    (frame,) = frames_for(FrameReconstructor(), 1, delta, kind)
    assert json.loads(frame) == {**expected, "seq": 1}


def test_large_files_are_left_to_be_read_and_everything_else_is_as_with_them() -> None:
    changes = tuple(
        FileChange(f"/{size}", File(b"a\n" * size), added=True) for size in (10, 50_000, 20, 60_000)
    )
    whole, parted = FrameReconstructor(), FrameReconstructor(max_kept_bytes=1000)
    for seq, kind in enumerate(
        [StateUpdate(files=changes), StateUpdate(files=(FileChange("/10", None),))], 1
    ):
        ((*parts,),) = parted.parts_for(seq, b"", kind)
        files = [part for part in parts if isinstance(part, LegacyFile)]
        assert [(file.path, file.seq) for file in files] == [("/50000", 1), ("/60000", 1)]
        texts = {
            change.path: b"".join(member_texts(change.path, change.file))
            for change in changes
            if change.file is not None
        }
        joined = b"".join(part if isinstance(part, bytes) else texts[part.path] for part in parts)
        assert [joined] == frames_for(whole, seq, b"", kind)
    assert parted.size_bytes < 10_000 < whole.size_bytes


def test_a_failure_that_the_runtime_did_not_report_comes_before_the_end() -> None:
    failed = Terminal(Outcome.FAILED, "deadline_exceeded", "too long")
    error, end = map(json.loads, frames_for(FrameReconstructor(), 1, b"", failed))
    # Two frames of one event: only the last one moves the reader's cursor.
    assert error == {
        "event_type": "error",
        "data": {"error": "too long", "context": "deadline_exceeded"},
    }
    assert end == {"event_type": "end", "data": {}, "seq": 1}


def test_a_failure_that_the_runtime_reported_comes_once() -> None:
    reconstructor, context = FrameReconstructor(), DeltaContext()
    body = b'{"event_type":"error","data":{}}'
    frames_for(
        reconstructor,
        1,
        context.encode_event_body(body),
        UpstreamFrame("error", FrameReason.ERROR_REPORT, body),
    )
    end = context.encode_full_text(b'{"event_type":"end","data":{}}')
    frames = frames_for(reconstructor, 2, end, Terminal(Outcome.FAILED, "upstream_error", "x"))
    assert frames == [b'{"event_type":"end","data":{},"seq":2}']


def test_a_further_end_is_no_frame_so_that_the_only_one_is_the_last() -> None:
    reconstructor, context = FrameReconstructor(), DeltaContext()
    further = UpstreamFrame("end", FrameReason.AFTER_END, b'{"event_type":"end","data":{}}')
    assert frames_for(reconstructor, 1, b"", further) == []
    end = context.encode_full_text(b'{"event_type":"end","data":{}}')
    frames = frames_for(reconstructor, 2, end, Terminal(Outcome.COMPLETED))
    assert frames == [b'{"event_type":"end","data":{},"seq":2}']
