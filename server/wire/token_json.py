"""Proto-JSON of token events, assembled from what the tokens of a message share.

Most events are tokens that differ from the one before only in seq, time and text. The library turns each of
them into a message, a dictionary and then text, which takes five times as long.
"""

from __future__ import annotations

from functools import lru_cache

from google.protobuf.json_format import MessageToDict

from server.encoding.event_batch import DELIMITED, VARINT, field_key, read_varint
from server.wire import messages as m
from server.wire.text import dumps, get_time, rfc3339

#: Distinct surroundings that are kept: those of a few messages of each run that is followed now.
_MAX_KEPT = 512
#: Longest surroundings that are kept. Longer ones have arguments of tool calls, which do not come twice.
_MAX_AROUND_BYTES = 1024

# Each of these keys is one byte: the numbers are below 16.
_EVENT, _TOKEN = m.Event.DESCRIPTOR.fields_by_name, m.Token.DESCRIPTOR.fields_by_name
_SEQ, _EPOCH = (field_key(_EVENT[name].number, VARINT)[0] for name in ("seq", "epoch"))
_TIME, _KIND = (field_key(_EVENT[name].number, DELIMITED)[0] for name in ("create_time", "token"))
_ID, _TEXT = (field_key(_TOKEN[name].number, DELIMITED)[0] for name in ("message_id", "text"))
_ROLE = field_key(_TOKEN["role"].number, VARINT)[0]


def token_event_json(event: bytes) -> bytes | None:
    """The proto-JSON of a serialised event that is a token with text, in the form in which the hub writes
    it; None for any other."""
    try:
        return _json(event)
    except IndexError:
        return None


def _json(event: bytes) -> bytes | None:
    if event[0] != _SEQ:
        return None
    seq, seq_end = read_varint(event, 1)
    if event[seq_end] != _EPOCH:
        return None
    epoch, at = read_varint(event, seq_end + 1)
    time_end = at + 2 + event[at + 1]
    if event[at] != _TIME or event[time_end] != _KIND:
        return None
    time = _time_json(event[at + 2 : time_end])
    size, start = read_varint(event, time_end + 1)
    at = start
    if event[at] == _ID:
        size_of_id, at = read_varint(event, at + 1)
        at += size_of_id
    if event[at] == _ROLE:
        at = read_varint(event, at + 1)[1]
    # With anything behind the token, or without a text, it is not what the hub writes for most tokens.
    if event[at] != _TEXT or start + size != len(event):
        return None
    text_bytes, text = read_varint(event, at + 1)
    text_end = text + text_bytes
    if time is None or text_end > len(event) or len(event) - text_bytes > _MAX_AROUND_BYTES:
        return None
    before, after = _around(event[start:at], event[text_end:])
    shared = b'{"seq":%d,"epoch":%d,"create_time":"%b","token":' % (seq, epoch, time)
    return b"".join((shared, before, dumps(event[text:text_end].decode()), after))


@lru_cache(16)
def _time_json(timestamp: bytes) -> bytes | None:
    """The JSON of a serialised time; None for one that is finer than what the hub writes."""
    time = m.Timestamp.FromString(timestamp)
    return None if time.nanos % 1000 else rfc3339(get_time(time)).encode()


@lru_cache(_MAX_KEPT)
def _around(before: bytes, after: bytes) -> tuple[bytes, bytes]:
    """The JSON of a token before and after its text."""
    token = m.Token.FromString(before + after)
    token.text = "\0"
    # Within another member, the quotes would be escaped.
    made = dumps(MessageToDict(token, preserving_proto_field_name=True))
    start, name, end = made.partition(b'"text":')
    return start + name, end.removeprefix(b'"\\u0000"') + b"}"
