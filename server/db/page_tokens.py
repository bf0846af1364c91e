"""Page tokens: the position of the last item in a list that is ordered by (created_at, id), newest first, in
the list of a draft's versions, or in those of the quarantine.

To callers they are opaque. A token contains the kind of its list, so that other lists refuse it.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from server.domain.errors import InvalidArgument
from server.domain.model import Page

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAYOUT = struct.Struct(">cq16s")
#: The byte of the lists of versions: for each, its draft and a version.
_VERSIONS = b"v"
_VERSION_LAYOUT = struct.Struct(">cI16s")
#: The bytes of the lists of shapes in quarantine, of their frames, and of a scan: for the last two, a thread
#: and a seq.
_SHAPES, FRAMES, SCAN = b"s", b"q", b"t"
_SHAPE_LAYOUT = struct.Struct(">cq8s")
_EVENT_LAYOUT = struct.Struct(">cI16s")
#: The largest integer of a column.
_MAX_SEQ = (1 << 31) - 1
#: Microseconds of the first and the last moment of the calendar.
_FIRST, _LAST = (
    (moment.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
    for moment in (datetime.min, datetime.max)  # noqa: DTZ901 (given a time zone here)
)


def page_token(kind: bytes, created_at: datetime, item_id: UUID) -> str:
    """The token of the position after an item. `kind`: the byte of the list."""
    return _text(_LAYOUT.pack(kind, _microseconds(created_at), item_id.bytes))


def page_place(kind: bytes, token: str) -> tuple[datetime, UUID]:
    """The position that a token names. Raises InvalidArgument for a token that the list never issued."""
    microseconds, item = _unpacked(_LAYOUT, kind, token)
    return _time(microseconds), UUID(bytes=item)


def version_token(draft_id: UUID, version: int) -> str:
    """The token of the position after a version, in the list of a draft's versions."""
    return _text(_VERSION_LAYOUT.pack(_VERSIONS, version, draft_id.bytes))


def version_place(draft_id: UUID, token: str) -> int:
    """The version that a token names. Raises InvalidArgument for a token that the list never issued."""
    version, item = _unpacked(_VERSION_LAYOUT, _VERSIONS, token)
    if item != draft_id.bytes:
        raise InvalidArgument({"cursor": "is not a cursor of this list"})
    return int(version)


def shape_token(newest_at: datetime, shape_id: str) -> str:
    """The token of the position after a shape, whose id is 16 hexadecimal digits, by its newest frame."""
    return _text(_SHAPE_LAYOUT.pack(_SHAPES, _microseconds(newest_at), bytes.fromhex(shape_id)))


def shape_place(token: str) -> tuple[datetime, str]:
    """The position that a token names. Raises InvalidArgument as `page_place`."""
    microseconds, shape = _unpacked(_SHAPE_LAYOUT, _SHAPES, token)
    return _time(microseconds), shape.hex()


def event_token(kind: bytes, thread_id: UUID, seq: int) -> str:
    """The token of the position after an event. kind: FRAMES, or SCAN."""
    return _text(_EVENT_LAYOUT.pack(kind, seq, thread_id.bytes))


def event_place(kind: bytes, token: str) -> tuple[UUID, int]:
    """The position that a token names. Raises InvalidArgument as `page_place`."""
    seq, thread = _unpacked(_EVENT_LAYOUT, kind, token)
    return UUID(bytes=thread), min(seq, _MAX_SEQ)


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


def _time(microseconds: int) -> datetime:
    # A time outside the calendar is before every item or after every item.
    return _EPOCH + timedelta(microseconds=min(max(microseconds, _FIRST), _LAST))


def _unpacked(layout: struct.Struct, kind: bytes, token: str) -> tuple[Any, Any]:
    """The two values of a token of the list. Raises InvalidArgument."""
    try:
        packed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        found, first, second = layout.unpack(packed)
    except (binascii.Error, ValueError, struct.error):
        found, packed = b"", b""
    if found != kind or _text(packed) != token:
        raise InvalidArgument({"cursor": "is not a cursor of this list"})
    return first, second


def page_of(items: Sequence[Any], *, kind: bytes, limit: int) -> Page:
    """The page of the items of a query with the limit `limit + 1`: one item more means another page."""
    shown = tuple(items[:limit])
    more = len(items) > limit and shown
    return Page(shown, page_token(kind, shown[-1].created_at, shown[-1].id) if more else None)


def _text(packed: bytes) -> str:
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")
