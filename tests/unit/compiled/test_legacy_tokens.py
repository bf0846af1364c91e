"""Legacy frames of tokens: those that compiled code makes are those of the reconstructor."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest

from server.domain.journal.frame_reconstruction import FrameReconstructor
from server.domain.streams.legacy_tokens import Framing, LegacyTokens
from server.encoding.event_batch import delta_batch_of
from server.frames.interpreter import Interpreter
from server.http.websocket_frames import text_header, text_part
from tests.support.recordings import NAMES, frames
from tests.unit.compiled.forms import compiled, together
from tests.unit.compiled.test_similar_tokens import token_frame

FRAMING = Framing(text_part, text_header)
FIRST_SEQ = 7


@pytest.fixture(scope="session")
def made() -> LegacyTokens:
    compiled()
    tokens: LegacyTokens = importlib.import_module("server.compiled.legacy").CompiledLegacyTokens()
    return tokens


def reconstructed(deltas: Sequence[bytes]) -> list[bytes]:
    """The framed frames of token deltas, by the reconstructor."""
    reconstructor = FrameReconstructor()
    reconstructor.continue_after(FIRST_SEQ - 1, b"")
    found = []
    for seq, delta in enumerate(deltas, FIRST_SEQ):
        [parts] = reconstructor.parts_for(seq, delta, None)
        found.append(text_part(b"".join(part for part in parts if isinstance(part, bytes)), True, True))
    return found


def deltas_of(sent: Sequence[bytes]) -> list[bytes]:
    """The deltas of token frames, as the parser gives them."""
    interpreter = Interpreter()
    return [interpreter.interpret(frame).delta for frame in sent]


def take(made: LegacyTokens, deltas: Sequence[bytes], *, last_seq: int, max_bytes: int = 1 << 30) -> Any:
    batch = delta_batch_of([b"before", *deltas])
    at = len(delta_batch_of([b"before"]))
    return made.take(batch, at, FIRST_SEQ, last_seq, b"", FRAMING, max_bytes)


@pytest.mark.parametrize("name", NAMES)
def test_those_of_a_recording_are_the_reconstructors(name: str, made: LegacyTokens) -> None:
    tokens = [frame for frame in frames(name) if b'"on_llm_stream"' in frame]
    for deltas in (deltas_of(tokens), together(compiled(), tokens, [64]).deltas):
        found = take(made, deltas, last_seq=FIRST_SEQ + len(deltas) - 1)
        expected = reconstructed(deltas)
        assert found.data == b"".join(expected)
        ends = [sum(map(len, expected[: number + 1])) for number in range(len(expected))]
        assert [*found.ends] == ends
        assert found.token == tokens[-1]


def test_they_end_with_the_last_event_that_is_asked_for_and_with_the_bytes(made: LegacyTokens) -> None:
    deltas = deltas_of([token_frame(f" word {number}") for number in range(10)])
    expected = reconstructed(deltas)
    assert take(made, deltas, last_seq=FIRST_SEQ + 3).data == b"".join(expected[:4])
    assert take(made, deltas, last_seq=FIRST_SEQ + 9, max_bytes=1).data == expected[0]
    two = len(expected[0]) + 1
    assert take(made, deltas, last_seq=FIRST_SEQ + 9, max_bytes=two).data == b"".join(expected[:2])


@pytest.mark.parametrize(
    "text",
    ['"seq"', ' "seq":', 'seq": 1', '"se', "x" * 400, "\x00", "é😀", "x" * 5_000],
)
def test_whatever_is_in_a_text_they_are_the_reconstructors_or_none(text: str, made: LegacyTokens) -> None:
    sent = [token_frame(each) for each in (" first", text, f'{text}q": 2', " last", text * 2)]
    # The member's name itself, in the frame and not in a text.
    sent.insert(2, sent[1].replace(b'{"event_type"', b'{"seq":1,"event_type"', 1))
    deltas = deltas_of(sent)
    expected = reconstructed(deltas)
    token, at = b"", len(delta_batch_of([b"before"]))
    batch = delta_batch_of([b"before", *deltas])
    left_alone = 0
    for seq, delta, frame, whole in zip(count(FIRST_SEQ), deltas, sent, expected, strict=False):
        found = made.take(batch, at, seq, seq, token, FRAMING, 1)
        if found is None:
            left_alone += 1
        else:
            assert (found.data, found.token) == (whole, frame)
        token = frame
        at += len(delta_batch_of([delta]))
    assert 0 < left_alone < len(sent)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"event_type"', b'{"seq":1,"event_type"'),
        (b'{"event_type"', b'{"seq":"event_type","event_type"'),
        (b'"}}', b'"},"seq":2}'),
        (b'{"raw_event"', b'{"seq":[],"raw_event"'),
    ],
)
def test_they_end_before_a_frame_with_a_member_of_their_name(
    before: bytes, after: bytes, made: LegacyTokens
) -> None:
    sent = [token_frame(f" word {number}") for number in range(5)]
    sent[3] = sent[3].replace(before, after, 1)
    deltas = deltas_of(sent)
    found = take(made, deltas, last_seq=FIRST_SEQ + 4)
    assert found.data == b"".join(reconstructed(deltas)[:3])
    assert found.token == sent[2]


@pytest.mark.parametrize(
    "delta",
    [
        b"",
        b"\x01",
        b"\x01" + b"d" * 8,
        b"\x01" + b"d" * 8 + b"\xff" * 12,
        b"\x01" + b"d" * 8 + b"\x05\x00\x00",
        b"\x01" + b"d" * 8 + b"\x00\x05\x00",
        b"\x01" + b"d" * 8 + b"\x00\x00\x7f{}",
        b"\x01" + b"d" * 8 + b"\x00\x00\x05{}",
        b"\x02" + b"d" * 8 + b"\x00\x00\x04{}",
        b"\x04" + b"d" * 8 + b'{"a":1}',
        b"\x01" + b"d" * 8 + b"\x00\x00\x04[]",
    ],
)
def test_any_other_delta_is_left_alone(delta: bytes, made: LegacyTokens) -> None:
    assert take(made, [delta], last_seq=FIRST_SEQ) is None


def test_a_batch_that_ends_early_is_left_alone(made: LegacyTokens) -> None:
    batch = delta_batch_of(deltas_of([token_frame(" first")]))
    for size in range(len(batch)):
        assert made.take(batch[:size], 0, FIRST_SEQ, FIRST_SEQ, b"", FRAMING, 1) is None
    assert made.take(batch, len(batch) + 1, FIRST_SEQ, FIRST_SEQ, b"", FRAMING, 1) is None
