"""Token frames into the journal's entries, in two forms: the hub's Python, and a module in Rust.

Both begin with a frame's bytes and end with the entries of its event and its delta. The module is not part of
the hub (`bench/token_frames/README.md`).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from server.domain.journal.events import Event, Token
from server.domain.runs.journal_entries import entry_of
from server.encoding.event_batch import batch_of, delimited_delta, delta_batch_of
from server.encoding.frame_delta import _insertion, digest_of
from server.frames.call_indexes import CallIndexes
from server.frames.interpreter import Interpreter
from server.wire import messages as m
from server.wire.codec import ProtobufCodec
from server.wire.text import set_time

CODEC = ProtobufCodec()
_EPOCH, _TIME = 1, datetime(2026, 1, 31, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Entries:
    """What frames become: how many they are, the entries of their events and deltas, and their digests."""

    count: int
    events: bytes
    deltas: bytes
    digests: Sequence[bytes | None]


class Form(Protocol):
    """Reads the token frames of one run, in order."""

    def take(self, frames: Sequence[bytes], start: int) -> Entries | None:
        """The entries of the frames from `start` on, at least of that one; None if the form does not take
        it."""


class PythonForm(Form):
    """The hub's own calls, as of `RunRecorder`."""

    def __init__(self) -> None:
        self._interpreter = Interpreter()
        self._encoder = CODEC.token_encoder()
        self._seq = 0

    def take(self, frames: Sequence[bytes], start: int) -> Entries:
        """As of Form, without None."""
        similar = self._interpreter.similar_tokens(frames, start)
        if similar is None:
            return self._one(frames[start])
        events = self._encoder.encode(
            self._seq + 1, _EPOCH, _TIME, similar.token, similar.place, similar.texts
        )
        self._seq += len(events)
        return Entries(len(events), batch_of(events), delta_batch_of(similar.deltas), similar.digests)

    def _one(self, frame: bytes) -> Entries:
        meaning = self._interpreter.interpret(frame)
        events, deltas, delta = b"", b"", meaning.delta
        for kind in meaning.kinds:
            self._seq += 1
            events += entry_of(Event(self._seq, _EPOCH, _TIME, kind), CODEC).event
            deltas += delimited_delta(delta)
            delta = b""
        return Entries(1, events, deltas, (digest_of(meaning.delta),))


class RustForm(Form):
    """The module in Rust. folder: where it is."""

    def __init__(self, folder: str) -> None:
        if folder not in sys.path:
            sys.path.insert(0, folder)
        self._frames: Any = importlib.import_module("token_frames").TokenFrames()
        self._calls = CallIndexes()
        self._last = b""
        self._seq = 0

    def take(self, frames: Sequence[bytes], start: int) -> Entries | None:
        """As of Form."""
        shared = m.Event(epoch=_EPOCH)
        set_time(shared.create_time, _TIME)
        found = self._frames.take(
            *(frames, start, self._seq + 1, shared.SerializeToString()),
            *(self._last, self._calls, _insertion),
        )
        if found is None:
            return None
        count, events, deltas, digests, self._last = found
        self._seq += count
        return Entries(count, events, deltas, digests)

    def restore(self, events: Sequence[Event], token_frame: bytes) -> None:
        """Go on after a frame that another form took. events: the frame's. token_frame: the last one."""
        self._last = token_frame
        for event in events:
            self._seq = event.seq
            if isinstance(event.kind, Token):
                self._calls.restore(event.kind)
