"""Durable Streams 1.0, the read side: a thread's journal as a stream of JSON messages.

A message is the proto-JSON of an event. An offset is a cursor with leading zeros, so that offsets sort as
text. The stream is closed once the journal has its terminal event.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from server.domain.errors import InvalidArgument
from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment
from server.domain.model import Refinement
from server.domain.off_loop import REQUESTS
from server.domain.streams.pages import EventPage
from server.wire.etags import etags_of, quoted
from server.wire.rendering import event_jsons, prepare_jsons
from server.wire.text import dumps
from server.wire.validation import DIGITS, MAX_SEQ, QueryModel, field_error

#: Offsets that are no cursor: the beginning of the stream, and its end at the time of the request.
BEGINNING, NOW = "-1", "now"
MAX_LIVE_S, LONG_POLL_S = 60, 20

_OFFSET = re.compile(r"[0-9]{1,10}", re.ASCII)
_FINAL_ETAG = re.compile(r"[0-9]+-(?P<next>[0-9]{1,10})-[0-9]+:c", re.ASCII)
_MAX_CURSOR_CHARS = 64
#: Seconds of an interval of the protocol's cursors, which count intervals since 9 October 2024.
_INTERVAL_S, _INTERVAL_EPOCH = 20, 1_728_432_000
_MAX_JITTER_S = 3_600


def _check_offset(text: str) -> str:
    if text in (BEGINNING, NOW) or (_OFFSET.fullmatch(text) and int(text) <= MAX_SEQ):
        return text
    raise field_error("must be `-1`, `now`, or an offset that an answer gave")


class StreamQuery(QueryModel):
    """What a reader of a stream asks for."""

    offset: Annotated[
        Annotated[str, Field(json_schema_extra={"pattern": "^(-1|now|[0-9]{1,10})$"})] | None,
        AfterValidator(lambda text: text if text is None else _check_offset(text)),
        Field(
            description="Where to read on: the `Stream-Next-Offset` of the last answer, `-1` for the "
            "beginning, or `now` for the end. Live reads need it."
        ),
    ] = None
    live: Annotated[
        Literal["long-poll", "sse"] | None,
        Field(description="Wait for events: for some of them, or for all until the stream ends."),
    ] = None
    cursor: Annotated[
        str | None,
        Field(max_length=_MAX_CURSOR_CHARS, description="The `Stream-Cursor` of the last answer."),
    ] = None
    timeout: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_LIVE_S,
            description=f"Seconds after which a live read ends. Default: {LONG_POLL_S} for a long poll "
            f"without an event, {MAX_LIVE_S} for server-sent events.",
        ),
        DIGITS,
    ] = None

    def place(self) -> int | None:
        """The seq after which events are read; None for the end of the stream. Raises InvalidArgument."""
        if self.offset is None and self.live is not None:
            raise InvalidArgument({"offset": "is missing: a live read needs it"})
        if self.offset == NOW:
            return None
        return 0 if self.offset in (None, BEGINNING) else int(self.offset)


def offset_of(seq: int) -> str:
    """The offset after the event `seq`."""
    return f"{seq:010d}"


def stream_cursor(echoed: str | None, time_s: float) -> str:
    """The cursor of a live answer at a Unix time: greater than the one that the client sends back, so that a
    cache does not answer with the same again."""
    interval = max(int(time_s - _INTERVAL_EPOCH) // _INTERVAL_S, 0)
    if echoed is not None and echoed.isascii() and echoed.isdigit() and int(echoed) >= interval:
        return str(int(echoed) + max(secrets.randbelow(_MAX_JITTER_S) // _INTERVAL_S, 1))
    return str(interval)


def state_headers(seq: int, *, up_to_date: bool, closed: bool) -> dict[str, str]:
    """The headers of every answer whose next offset is after the event `seq`. closed: nothing will follow."""
    headers = {"Stream-Next-Offset": offset_of(seq)}
    if up_to_date:
        headers["Stream-Up-To-Date"] = "true"
    if closed:
        headers["Stream-Closed"] = "true"
    return headers


def page_headers(page: EventPage) -> dict[str, str]:
    """The same for a page of events."""
    up_to_date = page.next_after >= page.head.last_seq
    return state_headers(page.next_after, up_to_date=up_to_date, closed=page.complete)


# --- Etags -----------------------------------------------------------------------------------


async def page_etag(page: EventPage, after: int) -> str:
    """The etag of a page of the events after `after`.

    The events of a run that has ended do not change, so their numbers are enough. Those of another one may be
    replaced after a failover that lost commits.
    """
    if page.head.terminal:
        return _final_etag(after, page.next_after, page.head.last_seq)
    batches = [segment.batch for segment in page.segments]
    digest = await REQUESTS.run_unless_small(map(len, batches), _digest, batches)
    return f"{after}-{page.next_after}-{digest}"


def _digest(batches: Iterable[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=12)
    for batch in batches:
        digest.update(batch)
    return digest.hexdigest()


def _final_etag(after: int, next_after: int, last_seq: int) -> str:
    return f"{after}-{next_after}-{last_seq}:c"


def known_final_page(if_none_match: str, after: int, refinement: Refinement) -> dict[str, str] | None:
    """The headers of the page after `after` if the run has ended and the request has the page already, else
    None. The page need not be read for that."""
    if not refinement.status.terminal or after < refinement.floor - 1:
        return None
    for etag in etags_of(if_none_match):
        found = _FINAL_ETAG.fullmatch(etag)
        if found is None:
            continue
        next_after = int(found["next"])
        if etag == _final_etag(after, next_after, refinement.last_seq) and next_after <= refinement.last_seq:
            at_end = next_after == refinement.last_seq
            return {"ETag": quoted(etag)} | state_headers(next_after, up_to_date=at_end, closed=at_end)
    return None


# --- Bodies ----------------------------------------------------------------------------------


async def messages_json(page: EventPage) -> Iterator[bytes]:
    """The array of a page's messages, in parts."""
    for segment in page.segments:
        await prepare_jsons(segment)
    return _array(page.segments)


def _array(segments: Iterable[Segment]) -> Iterator[bytes]:
    separator = b"["
    for segment in segments:
        yield separator + b",".join(event_jsons(segment))
        separator = b","
    yield b"[]" if separator == b"[" else b"]"


class StreamEvents:
    """The form of a stream's server-sent events: for each segment its messages, then the reader's new state.

    echoed: the cursor of the reader's last answer. time: the Unix time in seconds.
    """

    over = False

    def __init__(self, echoed: str | None, time: Callable[[], float]) -> None:
        self._first_cursor, self._time = int(stream_cursor(echoed, time())), time

    def hello(self, head: JournalHead, cursor: int) -> bytes:
        """The state of a reader for whom there is nothing yet."""
        return self._control(cursor, head) if cursor >= head.last_seq else b""

    async def segment(self, segment: Segment, head: JournalHead) -> bytes:
        """The segment's messages as one array, and the state after them."""
        await prepare_jsons(segment)
        return await segment.prepared(StreamEvents, _data_event) + self._control(segment.last_seq, head)

    def heartbeat(self, last_seq: int, progress: str) -> bytes:
        """A comment: the protocol has no event for it."""
        return b": heartbeat\n\n"

    def reconnect(self, after_s: float) -> bytes:
        """Nothing: a reader connects again when its stream ends."""
        return b""

    def _control(self, seq: int, head: JournalHead) -> bytes:
        state: dict[str, Any] = {"streamNextOffset": offset_of(seq)}
        if seq >= head.last_seq:
            state["upToDate"] = True
        if seq >= head.last_seq and head.terminal:
            state["streamClosed"] = True
        else:
            state["streamCursor"] = str(max(self._first_cursor, int(stream_cursor(None, self._time()))))
        return b"event: control\ndata: %b\n\n" % dumps(state)


def _data_event(segment: Segment) -> bytes:
    return b"event: data\ndata: %b\n\n" % b"".join(_array([segment]))
