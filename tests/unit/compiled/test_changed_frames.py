"""Token frames of the recordings with parts put in, taken out and repeated: both forms give what the parser
gives, or leave it to the parser."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

import pytest

from server.compiled.spliced import SplicingInterpreter
from tests.support.recordings import NAMES, frames
from tests.unit.compiled.forms import Form, parsed, together

#: What is put into frames: parts of printed text, of JSON, and of a piece's members.
_PARTS = (
    *(b"'", b'\\"', b"\\\\", b"\\\\'", b"\\n", b"\\u00e9", b"\\ud800", b"\\u0000", b"\\\\x00", b"\\\\ud83d"),
    *(b", ", b")", b"(", b"]", b"[", b"{", b"}", b"=", b": ", b"None", b"True", b"0", b"-1", b"1.5", b"nan"),
    *(b"b''", b"AIMessageChunk(content='", b"id='a'", b"index", b"'last'", b"\xff", b"<x>", b"\t", b"\x1f"),
    *(b', chunk_position=\\"last\\"', "é".encode(), "😀".encode(), b"  ", b"\\/", b"\\\\U0001f600", b"\\\\n"),
    *(b"langgraph_node", b"', '", b"0x1", b"1_0", b"01", b"(1)", b"(1,)", b"[1, ]", b"{'a': {}, 'a': 1}"),
    *(b"content='x', ", b"name=None, ", b"status='error', ", b"chunk_position='last', ", b"id='b', ", b"\0"),
    *(b"tool_call_id='c', ", b"additional_kwargs={}, ", b"'index': 1, "),
    b"'langgraph_checkpoint_ns': 'a|b:1', ",
)
_MARK = re.compile(rb"[=({\[,:] ?")


def changed(random: Random, frame: bytes, near: Sequence[bytes] = (b"content=",)) -> bytes:
    """A frame with one to three parts put in, taken out or repeated. near: where, as a rule."""
    made = bytearray(frame)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        at, how = _place(random, made, near), random.random()
        if how < 0.5:
            made[at:at] = random.choice(_PARTS)
        elif how < 0.65:
            del made[at : at + random.randrange(1, 12)]
        elif how < 0.75:
            made[at : at + 1] = bytes((random.randrange(256),))
        elif how < 0.9:
            start = _place(random, made, near)
            made[at:at] = made[start : start + random.randrange(1, 60)]
        else:
            made[at : at + random.randrange(2)] = random.choice(_PARTS)
    return bytes(made)


def _place(random: Random, frame: bytearray, near: Sequence[bytes]) -> int:
    """Anywhere in a frame, after one of its marks, or about where a text of `near` begins."""
    how = random.random()
    if how < 0.3:
        return random.randrange(len(frame) + 1)
    if how < 0.7:
        return random.choice([0, *(mark.end() for mark in _MARK.finditer(frame))])
    return max(frame.find(random.choice(near)), 0) + random.randrange(16)


TOKENS = [frame for name in NAMES for frame in frames(name) if b'"on_llm_stream"' in frame]
#: Each seed: twenty runs of two frames, with three changed ones after each.
RUNS = 20


@pytest.mark.parametrize("seed", range(20))
def test_a_changed_token_frame_means_what_it_means_to_the_parser(form: Form, seed: int) -> None:
    random, taken = Random(seed), 0
    for _ in range(RUNS):
        sent: list[bytes] = []
        for frame in random.sample(TOKENS, 2):
            sent += [frame, *(changed(random, frame) for _ in range(3))]
        read = together(form, sent, [len(sent)])
        events, digests = parsed(sent)
        assert read.events == events
        # Frames that are kept in another form have no digest.
        assert all(each in (b"", other) for each, other in zip(read.digests, digests, strict=True))
        taken += read.taken
    assert taken > RUNS or form is SplicingInterpreter
