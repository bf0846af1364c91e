"""A recording that comes from anybody: what is wrong with it is said with the line's number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.replay.recording import RecordingError, frame_of, line_of, text_line
from server.replay.recording_file import MAX_DEPTH, read_recording

GOOD = b'{"event_type":"on_state_update","data":{}}\n'
END = b'{"event_type":"end","data":{}}\n'


def written(folder: Path, content: bytes, name: str = "run.ndjson") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{", "line 2 of .* is not JSON .Expecting property name enclosed in double quotes at column 2"),
        (b'{"a": "\x01"}', "line 2 of .* is not JSON .Invalid control character"),
        (b'"\xff"', r"line 2 of .* is not UTF-8 \(byte 2\)"),
        (b"[1]", "line 2 of .* is neither a frame"),
        (b"3", "line 2 of .* is neither a frame"),
        (b"[" * (MAX_DEPTH + 1), "line 2 of .* is nested more than 200 levels deep"),
        (b'{"a":' * 100_000, "line 2 of .* is nested more than 200 levels deep"),
        (b'{"a":' + b"9" * 5000 + b"}", "line 2 of .* is not JSON that can be read"),
        (b"x" * 1_000_000, "line 2 of .* has more than 1000000 bytes"),
    ],
)
def test_a_line_without_a_frame_is_named(tmp_path: Path, line: bytes, why: str) -> None:
    with pytest.raises(RecordingError, match=why):
        read_recording(written(tmp_path, GOOD + line + b"\n" + END), max_line_bytes=1_000_000)


def test_brackets_in_texts_are_no_levels(tmp_path: Path) -> None:
    frame = json.dumps({"event_type": "x", "data": "[{" * 1000}).encode()
    [recording] = read_recording(written(tmp_path, frame + b"\n" + END)).values()
    assert recording.frames[0] == frame.decode()


@pytest.mark.parametrize("content", [b"", b"\n\n \n"])
def test_a_file_without_a_frame_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(RecordingError, match="has no frames"):
        read_recording(written(tmp_path, content))


def test_a_recording_is_bounded_with_its_continuations(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD + END)
    size = len(GOOD + END)
    assert list(read_recording(path, max_bytes=size)) == ["run"]
    written(tmp_path, END, "run.2.ndjson")
    with pytest.raises(RecordingError, match=f"has more than {size} bytes with its continuations"):
        read_recording(path, max_bytes=size)


def test_a_recording_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="No such file"):
        read_recording(tmp_path / "missing")


def test_the_continuations_beside_a_recording_belong_to_it(tmp_path: Path) -> None:
    for name in ("run.2", "run.3", "run.5", "other"):
        written(tmp_path, GOOD + END, f"{name}.ndjson")
    found = read_recording(written(tmp_path, GOOD))
    assert [(name, recording.unfinished) for name, recording in found.items()] == [
        ("run", True),
        ("run.2", False),
        ("run.3", False),
    ]


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_any_text_is_one_line_and_comes_back(text: str) -> None:
    line = text_line(text)
    assert "\n" not in line
    assert frame_of(line) == text


@given(st.dictionaries(st.text(), st.text(), max_size=3), st.sampled_from([None, 0, 2]))
def test_an_object_is_one_line_and_comes_back(value: dict[str, str], indent: int | None) -> None:
    frame = json.dumps(value, indent=indent)
    assert "\n" not in line_of(frame)
    assert frame_of(line_of(frame)) == frame


def test_half_of_a_surrogate_pair_can_be_sent() -> None:
    frame_of('"\\ud800"').encode()
