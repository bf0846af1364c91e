"""The process that interprets large frames.

It says that it is ready, reads questions from its input and writes answers to its output, until its input
ends, as it does when the hub ends in whatever way. What it may use is bounded by the kernel: a frame that
takes more ends the process.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from server.domain.journal.events import Event, EventKind, InputRequested, StateUpdate, Token, UpstreamFrame
from server.domain.runs.frame_worker import FrameReading
from server.domain.runs.journal_entries import JournalEntry, entry_of
from server.domain.runs.runtime import Interpretation
from server.frame_worker.messages import READY, Question, answer_parts, receive, send
from server.frames.interpreter import Interpreter
from server.interpreter_tuning import map_large_buffers
from server.wire.codec import ProtobufCodec

#: Bytes of earlier frames that are given back, to be sent again with the next one. Above that, sending them
#: costs more than they save.
MAX_KEPT_BYTES = 4 << 20
#: Bytes for which there is always room: those of thousands of files.
MIN_ROOM_BYTES = 1 << 20

_CODEC = ProtobufCodec()


def answer(question: Question) -> FrameReading:
    """What the frame means, with the entries of its events.

    One after which the hub would have to remember more than it has room for, such as a hundred thousand
    files, is kept uninterpreted.
    """
    reading = _reading(question, Interpreter.interpret)
    if len(reading.change) > max(question.place.room_bytes, MIN_ROOM_BYTES):
        reading = _reading(question, Interpreter.keep)
    return reading


def _reading(question: Question, read: Callable[[Interpreter, bytes], Interpretation]) -> FrameReading:
    place = question.place
    interpreter = Interpreter.of(question.state, question.calls)
    meaning = read(interpreter, question.frame)
    entries: list[JournalEntry] = []
    for seq, kind in enumerate(meaning.kinds, place.seq):
        if isinstance(kind, InputRequested):
            kind = replace(kind, expires_at=place.expires_at)
        entries.append(entry_of(Event(seq, place.epoch, place.time, kind), _CODEC))
    if interpreter.memory_bytes > min(place.room_bytes, MAX_KEPT_BYTES):
        for seq, kind in enumerate(meaning.kinds, place.seq):
            interpreter.release_files(seq, kind)
        interpreter.forget_frames()
    change = interpreter.after(meaning)
    kinds = tuple(map(_without_content, meaning.kinds))
    return FrameReading(replace(meaning, kinds=kinds), tuple(entries), change)


def _without_content(kind: EventKind) -> EventKind:
    """What the hub needs to know of an event whose entry it has."""
    match kind:
        case StateUpdate():
            return StateUpdate(message_count=kind.message_count)
        case Token():
            return Token()
        case InputRequested():
            return InputRequested("")
        case _:
            assert isinstance(kind, UpstreamFrame)
            return kind


def _bound(max_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (max_bytes, max_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):
        # If memory is short, this process goes before the hub.
        Path("/proc/self/oom_score_adj").write_text("1000")


def main(max_cpu_s: float, max_bytes: int) -> None:
    """Answer until the input ends. max_cpu_s: of one frame."""
    _bound(max_bytes)
    # What anything prints must not get between the answers.
    output = os.dup(1)
    os.dup2(2, 1)
    gc.collect()
    gc.freeze()
    gc.disable()
    map_large_buffers()
    send(output, READY)
    while True:
        try:
            question = Question.of(receive(sys.stdin.buffer))
        except EOFError:
            return
        # Its signal ends the process. It counts processor time, not that of others.
        signal.setitimer(signal.ITIMER_PROF, max_cpu_s)
        parts = answer_parts(answer(question))
        signal.setitimer(signal.ITIMER_PROF, 0)
        del question
        try:
            send(output, parts)
        except OSError:
            return
        del parts
        gc.collect()
