"""Token frames read one by one by the parser, and by the forms that make the journal's entries of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from server.compiled.choice import compiled_whole_messages, why_not_compiled
from server.compiled.spliced import SplicingInterpreter
from server.domain.journal.events import Event, UpstreamFrame
from server.domain.runs.journal_entries import JournalEntry, entry_of
from server.domain.runs.runtime import FrameInterpreter, Interpretation
from server.encoding.event_batch import event_ends, split_deltas, split_events
from server.encoding.frame_delta import DeltaContext, Encoding, digest_of, frame_digest
from server.frames.agent_state import StateSteps
from server.frames.interpreter import Interpreter
from server.runtime.websocket import whole_messages
from server.wire.codec import ProtobufCodec
from tests.support.tools import need

CODEC = ProtobufCodec()
TIME = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
EPOCH, SEQ = 3, 300

#: Makes an interpreter that makes entries.
Form = Callable[[], FrameInterpreter]


def compiled() -> Form:
    """The form in Rust. Skips the test where it is not installed; in CI, fails it."""
    why = why_not_compiled()
    need(not why, f"the compiled module: {why}; make setup builds it where cargo is")
    form: Form = importlib.import_module("server.compiled.interpreter").CompiledInterpreter
    return form


def compiled_steps() -> StateSteps:
    """The steps of reading state frames in Rust. Skips the test as `compiled`."""
    compiled()
    found: StateSteps = importlib.import_module("server.compiled.interpreter").STEPS
    return found


def installed_forms() -> list[Form]:
    """The forms that there are here."""
    return [SplicingInterpreter, compiled()] if not why_not_compiled() else [SplicingInterpreter]


@dataclass
class Read:
    """What frames became. taken: those of which the form made entries, the others it left to the parser."""

    events: list[bytes] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    deltas: list[bytes] = field(default_factory=list)
    taken: int = 0


def parsed(sent: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
    """The events of the frames, each read by the parser, and the frames' digests."""
    interpreter, events = Interpreter(), list[bytes]()
    for number, frame in enumerate(sent):
        # With another end than the frame before, it cannot be similar to it.
        for kind in interpreter.interpret(frame + b" " * (number % 2)).kinds:
            if isinstance(kind, UpstreamFrame):
                kind = replace(kind, body=frame)
            events.append(CODEC.encode(Event(len(events) + 1, EPOCH, TIME, kind)))
    return events, [frame_digest(frame) for frame in sent]


def as_read(sent: Sequence[bytes]) -> Sequence[bytes]:
    """The frames as a read of the runtime's stream brings them; as they are if one is too large for that."""
    find = compiled_whole_messages(compiled=not why_not_compiled()) or whole_messages
    data = b"".join(
        b"\x81\x7e" + len(frame).to_bytes(2, "big") + frame for frame in sent if len(frame) < 1 << 16
    )
    found, _ = find(data, 0, 1 << 16)
    return found if len(found) == len(sent) else sent


def together(form: Form, sent: Sequence[bytes], sizes: Sequence[int]) -> Read:
    """The frames read by a form, so many at a time. The deltas of those that it takes give them again."""
    interpreter, read, again = form(), Read(), DeltaContext()
    start = turn = 0
    while start < len(sent):
        end = min(start + sizes[turn % len(sizes)], len(sent))
        turn, first, part = turn + 1, start, as_read(sent[start:end])
        while start < end:
            seq = len(read.events) + 1
            found = interpreter.token_entries(part, start - first, first_seq=seq, epoch=EPOCH, time=TIME)
            if found is not None:
                count, event_entries, delta_entries, digests = found
                events = split_events(event_entries, event_ends(event_entries))
                deltas = split_deltas(delta_entries)
                assert count == len(events) == len(deltas) == len(digests)
                assert [digest_of(delta) for delta in deltas] == [*digests]
                taken = sent[start : start + count]
                assert [again.decode(delta)[1] for delta in deltas] == [*taken]
                read.events += events
                read.digests += digests
                read.deltas += deltas
                read.taken += count
                start += count
                continue
            meaning = interpreter.interpret(sent[start])
            if meaning.delta:
                again.decode(meaning.delta)
            for kind in meaning.kinds:
                read.events.append(CODEC.encode(Event(len(read.events) + 1, EPOCH, TIME, kind)))
            read.digests.append(digest_of(meaning.delta) or b"")
            read.deltas.append(meaning.delta)
            start += 1
    return read


def delta_in_one_call(interpreter: FrameInterpreter, frame: bytes, right: Interpretation) -> bytes | None:
    """The delta of a frame whose entry the interpreter makes; None if it leaves the frame to `interpret`. The
    entry is the one of what the frame means."""
    entry = interpreter.files_entry(frame, seq=SEQ, epoch=EPOCH, time=TIME)
    if entry is None:
        return None
    (kind,) = right.kinds
    event = Event(SEQ, EPOCH, TIME, kind)
    made = JournalEntry(entry.event, entry.file_changes, None)
    assert made == entry_of(event, CODEC)
    assert entry.digest == digest_of(entry.delta) == digest_of(right.delta) == frame_digest(frame)
    assert right.shows_files
    return entry.delta


def tokens_again(deltas: Sequence[bytes]) -> list[bytes]:
    """The token frames of deltas."""
    context = DeltaContext()
    read = [context.decode(delta) for delta in deltas if delta]
    return [text for encoding, text in read if encoding is Encoding.TOKEN]
