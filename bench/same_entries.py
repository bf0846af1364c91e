"""Whether both forms of `token_entries.py` give the same, for the recordings and for changed frames."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from bench.figures import NoFigure
from bench.token_entries import CODEC, Entries, PythonForm, RustForm
from server.domain.journal.events import Token
from server.encoding.event_batch import event_ends, split_deltas, split_events
from server.encoding.frame_delta import DeltaContext, Encoding
from server.frames.interpreter import Interpreter
from server.replay.recording import read_recordings


def compare(folder: str, frames: Sequence[bytes]) -> int:
    """How many of a run's frames the module takes. Raises NoFigure, unless it gives the same events and
    digests as the hub, and deltas that give the same frames again."""
    python, rust, deltas, rust_deltas = PythonForm(), RustForm(folder), DeltaContext(), DeltaContext()
    at = taken = 0
    while at < len(frames):
        found = rust.take(frames, at)
        if found is None:
            ours = python.take(frames[at : at + 1], 0)
            for delta in split_deltas(ours.deltas)[:1]:
                if delta[0] == Encoding.TOKEN:
                    _, rust_deltas.token = deltas.decode(delta)
            rust.restore([CODEC.decode(event) for event in _events(ours)], rust_deltas.token)
            at += 1
            continue
        same = frames[at : at + found.count]
        both = zip(_parts(_together(python, same), deltas), _parts(found, rust_deltas), strict=True)
        for frame, (our, its) in zip(same, both, strict=True):
            if our != its or its[-1] != frame:
                raise NoFigure(f"the module gives something else for {frame!r}")
        at += found.count
        taken += found.count
    return taken


def _parts(entries: Entries, context: DeltaContext) -> list[tuple[bytes, bytes | None, bytes]]:
    """Event, digest, and the frame that the delta gives, of each frame."""
    texts = [context.decode(delta)[1] for delta in split_deltas(entries.deltas)]
    return list(zip(_events(entries), entries.digests, texts, strict=True))


def _events(entries: Entries) -> list[bytes]:
    return split_events(entries.events, event_ends(entries.events))


def _together(form: PythonForm, frames: Sequence[bytes]) -> Entries:
    """The entries of all of the frames."""
    found: list[Entries] = []
    while (count := sum(entries.count for entries in found)) < len(frames):
        found.append(form.take(frames, count))
    return Entries(
        count,
        b"".join(entries.events for entries in found),
        b"".join(entries.deltas for entries in found),
        [digest for entries in found for digest in entries.digests],
    )


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


def _changed(random: Random, frame: bytes) -> bytes:
    """A frame with one to three parts put in, taken out or repeated."""
    changed = bytearray(frame)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        at, how = _place(random, changed), random.random()
        if how < 0.5:
            changed[at:at] = random.choice(_PARTS)
        elif how < 0.65:
            del changed[at : at + random.randrange(1, 12)]
        elif how < 0.75:
            changed[at : at + 1] = bytes((random.randrange(256),))
        elif how < 0.9:
            start = _place(random, changed)
            changed[at:at] = changed[start : start + random.randrange(1, 60)]
        else:
            changed[at : at + random.randrange(2)] = random.choice(_PARTS)
    return bytes(changed)


def _place(random: Random, frame: bytearray) -> int:
    """Anywhere in a frame, after one of its marks, or about where the content begins."""
    how = random.random()
    if how < 0.3:
        return random.randrange(len(frame) + 1)
    if how < 0.7:
        return random.choice([0, *(mark.end() for mark in _MARK.finditer(frame))])
    return max(frame.find(b"content="), 0) + random.randrange(16)


@dataclass(frozen=True, slots=True)
class Compared:
    """How many frames were compared. tokens: those of the recordings, all of which the module takes. taken:
    those that it takes of `more`, three of four of which are changed."""

    tokens: int
    more: int
    taken: int

    def __str__(self) -> str:
        return (
            "Both give the same events and digests, and deltas that give the same frames again: for all "
            f"{self.tokens:,} token frames of the shipped recordings, and for the {self.taken:,} that the "
            f"module takes of {self.more:,}, three of four of which have parts put in, taken out or repeated."
        )


def compare_all(folder: str, runs: int) -> Compared:
    """Compare both on each shipped recording, and on so many runs of two frames, each with three changed ones
    after it. Raises NoFigure."""
    tokens: list[bytes] = []
    for name, recording in read_recordings().items():
        frames = [frame.encode() for frame in recording.frames]
        of_recording = token_frames(frames)
        if (taken := compare(folder, frames)) != len(of_recording):
            raise NoFigure(f"{name}: the module takes {taken} of {len(of_recording)} token frames")
        tokens += of_recording
    random, taken = Random(1), 0
    for _ in range(runs):
        sent: list[bytes] = []
        for frame in random.sample(tokens, 2):
            sent += [frame, *(_changed(random, frame) for _ in range(3))]
        taken += compare(folder, sent)
    return Compared(len(tokens), 8 * runs, taken)


def token_frames(frames: Sequence[bytes]) -> list[bytes]:
    """The frames of a run that are tokens."""
    interpreter = Interpreter()
    return [
        frame
        for frame in frames
        if any(isinstance(kind, Token) for kind in interpreter.interpret(frame).kinds)
    ]
