"""Queries for events: the cursor, and what pages, server-sent events and WebSockets ask for."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from server.domain.errors import InvalidArgument
from server.wire import messages as m
from server.wire.validation import DIGITS, MAX_SEQ, QueryModel, field_error, renamed_fields

MAX_EVENTS, DEFAULT_EVENTS = 1_000, 100
MAX_WAIT_S = 25
#: The default size of a WebSocket's largest message: what Python's `websockets` takes by default. Also the
#: smallest limit, because the JSON of an event that was cut down may be almost as large.
MAX_MESSAGE_BYTES = 1 << 20

#: A cursor in a query: the last seq that the caller has.
After = Annotated[int, Field(ge=0, le=MAX_SEQ, description="The last seq that the caller has."), DIGITS]

_CURSOR = re.compile(r"[0-9]{1,10}")


def parse_cursor(text: str | None, header: str) -> int:
    """The cursor in a header; 0 without one. Raises InvalidArgument."""
    if text is None:
        return 0
    if not _CURSOR.fullmatch(text) or int(text) > MAX_SEQ:
        raise InvalidArgument({header: f"must be a whole number from 0 to {MAX_SEQ}"})
    return int(text)


class EventsQuery(QueryModel):
    """Which events of a thread."""

    after: After = 0
    limit: Annotated[
        int, Field(ge=0, le=MAX_EVENTS, description="Maximum number of events; 0 for the default."), DIGITS
    ] = DEFAULT_EVENTS
    wait: Annotated[
        int, Field(ge=0, le=MAX_WAIT_S, description="Seconds to wait for the first event."), DIGITS
    ] = 0

    names: Annotated[
        Literal["true", "false"],
        Field(description="Whether server-sent events have names; `false` for listeners to `message` alone."),
    ] = "true"

    @property
    def named(self) -> bool:
        """Whether server-sent events have names."""
        return self.names == "true"

    @property
    def size(self) -> int:
        """Maximum number of events, at least 1."""
        return self.limit or DEFAULT_EVENTS


def events_query(request: m.ListEventsRequest) -> EventsQuery:
    """The query of a message. Raises InvalidArgument."""
    values = {"after": request.after_seq, "limit": request.limit, "wait": request.wait_seconds}
    with renamed_fields({"after": "after_seq", "wait": "wait_seconds"}):
        return EventsQuery.model_validate(values)


def _check_message_bytes(limit: int) -> int:
    if 0 < limit < MAX_MESSAGE_BYTES:
        raise field_error(f"must be 0 or at least {MAX_MESSAGE_BYTES}")
    return limit


class SocketQuery(QueryModel):
    """What a WebSocket is to send."""

    after: After = 0
    max_message_bytes: Annotated[
        int,
        Field(
            ge=0,
            le=0xFFFFFFFF,
            description="The largest message that the client takes, in bytes: at least 1,048,576, rounded "
            "down to a power of two; 0 for no limit. An event that does not fit has parts left out "
            "(`omitted_bytes`). Legacy frames are always whole.",
        ),
        DIGITS,
        AfterValidator(_check_message_bytes),
    ] = MAX_MESSAGE_BYTES

    @property
    def message_limit(self) -> int | None:
        """The size of the largest message; None for no limit. A power of two, so that readers share the few
        forms of an event."""
        return 1 << (self.max_message_bytes.bit_length() - 1) if self.max_message_bytes else None
