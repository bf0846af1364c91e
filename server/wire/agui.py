"""AG-UI 1.0: a thread's journal as the events of one AG-UI run.

The events follow from the journal alone, so a reader that comes back gets the same ones. An event's id is the
cursor of a reader that has it: `17`, or `17.2` after two of the events that event 18 becomes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, assert_never
from uuid import UUID

from server.domain.errors import HubError, InvalidArgument
from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment
from server.wire.agui_interrupts import Interrupt, interrupt_id
from server.wire.agui_parts import (
    Ended,
    EventParts,
    Message,
    Other,
    Part,
    Question,
    Result,
    Started,
    State,
    Text,
    parts_of,
)
from server.wire.problems import problem_of
from server.wire.text import dumps
from server.wire.validation import MAX_SEQ

#: Messages, tool calls and files of a run that a reader follows, each; further ones are left out. Keeps what
#: a reader needs below two megabytes.
MAX_FOLLOWED = 5_000
#: Tool calls without a result, the last ones, among which a question finds what it asks about; and their
#: longest id, in characters.
MAX_UNANSWERED, _MAX_CALL_ID = 100, 256

#: Bytes of parts of which events are made in one turn of the event loop.
TURN_BYTES = 8 << 10

_ID = re.compile(r"(?P<seq>[0-9]{1,10})(\.(?P<count>[0-9]{1,10}))?", re.ASCII)
_SNAPSHOT = b'"snapshot":{"todos":[],"files":{}}'


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a reader is: after event `seq`, and after the first `count` of what the next one becomes."""

    seq: int = 0
    count: int = 0


def place_of(last_event_id: str | None) -> Place:
    """The place of the header `Last-Event-ID`; the beginning without one. Raises InvalidArgument."""
    if not last_event_id:
        return Place()
    found = _ID.fullmatch(last_event_id)
    if found is None or int(found["seq"]) > MAX_SEQ:
        raise InvalidArgument({"Last-Event-ID": "must be the id of an event of this stream"})
    return Place(int(found["seq"]), int(found["count"] or 0))


def short_run(thread_id: str, run_id: str, error: HubError | None) -> bytes:
    """A whole run in which nothing happens: refused with the error, or cancelled. thread_id, run_id: the
    client's own."""
    ids = {"threadId": thread_id, "runId": run_id}
    last: dict[str, Any] = {"type": "RUN_FINISHED", **ids, "outcome": {"type": "cancelled"}}
    if error is not None:
        last = {"type": "RUN_ERROR", "message": error.message, "code": problem_of(error).code}
    return b"".join(b"data: %b\n\n" % dumps(each) for each in ({"type": "RUN_STARTED", **ids}, last))


class AgUiRun:
    """The form of a run's server-sent events for one reader, who has those before a place.

    It must get every segment of the journal from the first.
    """

    def __init__(
        self,
        thread_id: str,
        run_id: str,
        place: Place,
        *,
        refinement_id: UUID,
        can_resume: bool,
        closed_seq: int = 0,
        turn: Callable[[int], Awaitable[None]],
    ) -> None:
        """thread_id, run_id: the client's own. refinement_id: the thread of the journal. can_resume: whether
        the runtime can continue a run that has asked a person. closed_seq: the questions up to this one were
        closed before the reader came: they end no run. turn: waits for a turn for so many bytes of parts."""
        self._refinement_id, self._can_resume = refinement_id, can_resume
        self._closed_seq, self._turn = closed_seq, turn
        self._ids = b'"threadId":%b,"runId":%b' % (dumps(thread_id), dumps(run_id))
        self._place = place
        self._running = False
        self._begun = False
        #: Open messages by their id, with the id that the client knows, as JSON.
        self._open: dict[str, bytes] = {}
        self._messages: set[bytes] = set()
        self._calls: set[bytes] = set()
        self._results: set[bytes] = set()
        self._files: set[bytes] = set()
        #: The tool calls without a result by the key of their id: what names the call, and its id as JSON.
        self._unanswered: dict[bytes, tuple[bytes, bytes]] = {}
        #: Whether the AG-UI run is over, although the journal may go on.
        self.over = False

    def hello(self, head: JournalHead, cursor: int) -> bytes:
        """Nothing: the run's first event is one of the journal's."""
        return b""

    async def segment(self, segment: Segment, head: JournalHead) -> bytes:
        """The events of a segment."""
        written: list[bytes] = []
        size = 0
        for seq, (event, event_bytes) in enumerate(await parts_of(segment), segment.first_seq):
            if self.over:
                break
            written += self._written(seq, event)
            size += event_bytes
            if size >= TURN_BYTES:
                # What is made is not shared: in one go, many readers would hold the loop.
                await self._turn(size)
                size = 0
        return b"".join(written)

    def heartbeat(self, last_seq: int, progress: str) -> bytes:
        """A comment."""
        return b": heartbeat\n\n"

    def reconnect(self, after_s: float) -> bytes:
        """Nothing: the protocol has no event for it."""
        return b""

    def _written(self, seq: int, event: EventParts) -> Iterator[bytes]:
        made = [each for part in event.parts for each in self._events(seq, part)]
        if seq <= self._place.seq:
            self.over = False
            return
        had = self._place.count if seq == self._place.seq + 1 else 0
        for number, (kind, members) in enumerate(made, 1):
            if number <= had:
                continue
            event_id = b"%d" % seq if number == len(made) else b"%d.%d" % (seq - 1, number)
            text = b'{"type":"%b","timestamp":%d%b%b}' % (
                kind,
                event.time_ms,
                b"," if members else b"",
                members,
            )
            yield b"id: %b\ndata: %b\n\n" % (event_id, text)

    def _events(self, seq: int, part: Part) -> Iterator[tuple[bytes, bytes]]:
        """Type and other members of the events that a part becomes."""
        if not self._running:
            self._running = True
            yield b"RUN_STARTED", self._ids
        if not self._begun:
            self._begun = True
            yield b"STATE_SNAPSHOT", _SNAPSHOT
        match part:
            case Started(value):
                yield b"CUSTOM", b'"name":"ideo.run_started","value":%b' % value
            case Text():
                yield from self._text(seq, part)
            case Message():
                yield from self._message(part)
            case Result(call_id, message_id, content):
                known, first = _key(call_id) in self._calls, _add(self._results, call_id)
                self._unanswered.pop(_key(call_id), None)
                if known and first:
                    members = b'"messageId":%b,"toolCallId":%b,"content":%b,"role":"tool"'
                    yield b"TOOL_CALL_RESULT", members % (message_id, dumps(call_id), content)
                elif not known:
                    value = b'{"tool_call_id":%b,"content":%b}' % (dumps(call_id), content)
                    yield b"CUSTOM", b'"name":"ideo.tool_result","value":%b' % value
            case State():
                patch = b",".join(self._patch(part))
                if patch:
                    yield b"STATE_DELTA", b'"delta":[%b]' % patch
            case Other(kind, members):
                yield kind.encode(), members
            case Question() if seq <= self._closed_seq and not self._had_part_of(seq):
                return
            case Question(interrupts):
                yield from self._closed()
                self._running, self.over = False, True
                shown = b",".join(self._interrupts(seq, interrupts))
                outcome = b'"outcome":{"type":"interrupt","interrupts":[%b]}' % shown
                yield b"RUN_FINISHED", b"%b,%b" % (self._ids, outcome)
            case Ended(kind, members):
                yield from self._closed()
                self.over = True
                ids = b"" if kind == "RUN_ERROR" else self._ids + b","
                yield kind.encode(), ids + members
            case other:
                assert_never(other)

    def _had_part_of(self, seq: int) -> bool:
        """Whether the last event that the reader has is one of those that this one becomes."""
        return self._place == Place(seq) or (self._place.seq == seq - 1 and self._place.count > 0)

    def _text(self, seq: int, part: Text) -> Iterator[tuple[bytes, bytes]]:
        message_id = self._open.get(part.message_id)
        if message_id is None and part.delta:
            # The id of a message that was closed is used up.
            name = part.message_id
            if not _add(self._messages, name):
                name = f"{name}~{seq}"
            if len(self._open) >= MAX_FOLLOWED or len(self._messages) >= MAX_FOLLOWED:
                yield b"CUSTOM", b'"name":"ideo.left_out","value":{"seq":%d}' % seq
                return
            message_id = self._open[part.message_id] = dumps(name)
            yield b"TEXT_MESSAGE_START", b'"messageId":%b,"role":"assistant"' % message_id
        if message_id is not None and part.delta:
            yield b"TEXT_MESSAGE_CONTENT", b'"messageId":%b,"delta":%b' % (message_id, part.delta)
        if message_id is not None and part.last:
            yield from self._closed(part.message_id)

    def _closed(self, *names: str) -> Iterator[tuple[bytes, bytes]]:
        """The ends of open messages: of these, or of all."""
        for name in names or tuple(self._open):
            message_id = self._open.pop(name, None)
            if message_id is not None:
                yield b"TEXT_MESSAGE_END", b'"messageId":%b' % message_id

    def _message(self, part: Message) -> Iterator[tuple[bytes, bytes]]:
        name = part.message_id
        yield from self._closed(name)
        message_id = dumps(name)
        known = _key(name) in self._messages
        if part.text and not known and len(self._messages) < MAX_FOLLOWED:
            known = _add(self._messages, name)
            yield b"TEXT_MESSAGE_START", b'"messageId":%b,"role":"assistant"' % message_id
            yield b"TEXT_MESSAGE_CONTENT", b'"messageId":%b,"delta":%b' % (message_id, part.text)
            yield b"TEXT_MESSAGE_END", b'"messageId":%b' % message_id
        parent = b',"parentMessageId":%b' % message_id if known else b""
        for call in part.calls:
            if len(self._calls) >= MAX_FOLLOWED or not _add(self._calls, call.call_id):
                continue
            call_id = dumps(call.call_id)
            start = b'"toolCallId":%b,"toolCallName":%b%b' % (call_id, call.name, parent)
            yield b"TOOL_CALL_START", start
            yield b"TOOL_CALL_ARGS", b'"toolCallId":%b,"delta":%b' % (call_id, call.arguments)
            yield b"TOOL_CALL_END", b'"toolCallId":%b' % call_id
            if len(call.call_id) <= _MAX_CALL_ID:
                self._unanswered[_key(call.call_id)] = call.key, call_id
            if len(self._unanswered) > MAX_UNANSWERED:
                del self._unanswered[next(iter(self._unanswered))]

    def _interrupts(self, seq: int, interrupts: Sequence[Interrupt]) -> Iterator[bytes]:
        calls: dict[bytes, list[bytes]] = {}
        for key, call_id in self._unanswered.values():
            calls.setdefault(key, []).append(call_id)
        for each in interrupts:
            reason = b'"ideo:question"'
            if each.number:
                # Two equal calls are asked about in their order.
                waiting = calls.get(each.call)
                call = b',"toolCallId":%b' % waiting.pop(0) if waiting else b""
                reason = b'"tool_call"' + call if call else b'"input_required"'
            can_resume = bool(each.schema) and self._can_resume
            yield b'{"id":%b,"reason":%b,%b%b,"metadata":{%b,"can_resume":%b}}' % (
                dumps(interrupt_id(self._refinement_id, seq, each.number)),
                reason,
                each.members,
                b',"responseSchema":%b' % each.schema if can_resume else b"",
                each.metadata,
                dumps(can_resume),
            )

    def _patch(self, part: State) -> Iterator[bytes]:
        if part.todos:
            yield part.todos
        for change in part.files:
            key = _key(change.path)
            if change.removed:
                if key in self._files:
                    self._files.remove(key)
                    yield change.patch
            elif key in self._files or len(self._files) < MAX_FOLLOWED:
                self._files.add(key)
                yield change.patch


def _key(name: str) -> bytes:
    """A short key of a name, which may be long."""
    return hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=16).digest()


def _add(keys: set[bytes], name: str) -> bool:
    """Add a name. Returns whether it is new."""
    key, size = _key(name), len(keys)
    keys.add(key)
    return len(keys) > size
