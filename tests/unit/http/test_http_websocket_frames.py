from __future__ import annotations

import ast
import json
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from websockets.frames import Close, Frame, Opcode

from server.domain.streams.steps import Heartbeat
from server.http import websocket_frames
from server.http.event_encoders import JsonEventEncoder, LegacyFrameEncoder, ProtoEventEncoder
from server.http.websocket_frames import (
    FRAME_BYTES,
    binary_frame,
    close_frame,
    frames_of,
    text_frame,
    text_part,
)
from server.wire import messages as m

SIZES = (0, 1, 125, 126, 127, FRAME_BYTES - 4)
LARGE_SIZES = (FRAME_BYTES - 3, 2 * (FRAME_BYTES - 4), 2 * (FRAME_BYTES - 4) + 1, 200_000)


@pytest.mark.parametrize("size", SIZES)
def test_frames_are_byte_for_byte_those_of_the_library(size: int) -> None:
    payload = b"x" * size
    assert text_frame(payload) == Frame(Opcode.TEXT, payload).serialize(mask=False)
    assert binary_frame(payload) == Frame(Opcode.BINARY, payload).serialize(mask=False)


@pytest.mark.parametrize("size", LARGE_SIZES)
@pytest.mark.parametrize(("made", "kind"), [(text_frame, Opcode.TEXT), (binary_frame, Opcode.BINARY)])
def test_a_large_message_is_sent_in_fragments_between_which_a_close_may_come(
    made: Callable[[bytes], bytes], kind: Opcode, size: int
) -> None:
    payload = bytes(index % 251 for index in range(size))
    fragments = [payload[at : at + FRAME_BYTES - 4] for at in range(0, size, FRAME_BYTES - 4)]
    expected = [
        Frame(Opcode.CONT if index else kind, fragment, fin=index == len(fragments) - 1).serialize(mask=False)
        for index, fragment in enumerate(fragments)
    ]
    assert list(frames_of(made(payload))) == expected
    assert max(map(len, expected)) <= FRAME_BYTES


@pytest.mark.parametrize("sizes", [(0,), (3,), (3, 5), (0, 0, 1), (FRAME_BYTES - 4, 70_000, 3), (3, 200_000)])
def test_a_message_that_is_made_in_parts_is_one_message(sizes: tuple[int, ...]) -> None:
    parts = [bytes((number,)) * size for number, size in enumerate(sizes, start=65)]
    made = [text_part(part, at == 0, at == len(parts) - 1) for at, part in enumerate(parts)]
    fragments = list(frames_of(b"".join(made)))
    assert b"".join(map(_payload, fragments)) == b"".join(parts)
    assert [fragment[0] & 0x0F for fragment in fragments] == [Opcode.TEXT] + [Opcode.CONT] * (
        len(fragments) - 1
    )
    assert [fragment[0] >> 7 for fragment in fragments] == [0] * (len(fragments) - 1) + [1]
    assert max(map(len, fragments)) <= FRAME_BYTES


@pytest.mark.parametrize(("code", "reason"), list(product((1012, 4408), ("", "after=4294967295"))))
def test_a_close_is_byte_for_byte_that_of_the_library(code: int, reason: str) -> None:
    expected = Frame(Opcode.CLOSE, Close(code, reason).serialize()).serialize(mask=False)
    assert close_frame(code, reason) == expected


def test_no_other_module_builds_a_header() -> None:
    """No other module of the hub knows a header's first byte."""
    first_bytes = {0x81, 0x82, 0x88}
    server = Path(websocket_frames.__file__).parents[1]
    found = {
        path.relative_to(server).as_posix()
        for path in server.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and type(node.value) is int and node.value in first_bytes
    }
    # 130 is also the exit code of an interrupted command.
    assert found == {"http/websocket_frames.py", "cli/exit_codes.py"}


def _payload(frame: bytes) -> bytes:
    return frame[2:] if frame[1] < 126 else frame[4:]


def test_a_sign_of_life_carries_the_end_of_the_journal_and_the_progress() -> None:
    beat = Heartbeat(7, "thinking")
    assert json.loads(_payload(JsonEventEncoder().heartbeat(beat))) == {
        "heartbeat": {"last_seq": 7, "progress": "thinking"}
    }
    told = m.WatchRefinementResponse.FromString(_payload(ProtoEventEncoder().heartbeat(beat)))
    assert (told.heartbeat.last_seq, told.heartbeat.progress) == (7, "thinking")


def test_a_sign_of_life_is_made_once_for_all_readers() -> None:
    assert JsonEventEncoder().heartbeat(Heartbeat(8, "")) is JsonEventEncoder().heartbeat(Heartbeat(8, ""))


def test_a_legacy_socket_shows_progress_only_when_it_changed() -> None:
    messages = LegacyFrameEncoder(None)  # type: ignore[arg-type]  # follows nothing here
    assert messages.heartbeat(Heartbeat(1, "")) == b""
    told = json.loads(_payload(messages.heartbeat(Heartbeat(1, "step 1"))))
    assert told == {"event_type": "on_state_update", "data": {"messages": "step 1", "status": "running"}}
    assert messages.heartbeat(Heartbeat(2, "step 1")) == b""
    assert messages.heartbeat(Heartbeat(2, "step 2")) != b""
