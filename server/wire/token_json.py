"""Proto-JSON of token events, put together from what the tokens of a message share.

Most events are tokens that differ in seq, time and text from the one before. The library makes each into a
message, a dictionary and text, which takes five times as long.
"""

from __future__ import annotations

from functools import lru_cache

from google.protobuf.json_format import MessageToDict

from server.encoding.event_batch import read_varint
from server.wire import messages as m
from server.wire.text import dumps

#: Distinct surroundings that are kept: those of a few messages of each run that is followed now.
_MAX_KEPT = 512
#: Longest surroundings that are kept. Longer ones have arguments of tool calls, which do not come twice.
_MAX_AROUND_BYTES = 1024
_VARINT, _DELIMITED = 0, 2


def _first_byte(number: int, wire_type: int) -> int:
    """The key of a field with a number below 16, which is one byte."""
    return number << 3 | wire_type


_EVENT, _TOKEN = m.Event.DESCRIPTOR.fields_by_name, m.Token.DESCRIPTOR.fields_by_name
_SEQ, _EPOCH = (_first_byte(_EVENT[name].number, _VARINT) for name in ("seq", "epoch"))
_TIME, _KIND = (_first_byte(_EVENT[name].number, _DELIMITED) for name in ("create_time", "token"))
_ID, _TEXT = (_first_byte(_TOKEN[name].number, _DELIMITED) for name in ("message_id", "text"))
_ROLE = _first_byte(_TOKEN["role"].number, _VARINT)


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
    time = read_varint(event, seq_end + 1)[1]
    shared_end = time + 2 + event[time + 1]
    if event[time] != _TIME or event[shared_end] != _KIND:
        return None
    size, start = read_varint(event, shared_end + 1)
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
    if text_end > len(event) or len(event) - text_bytes > _MAX_AROUND_BYTES:
        return None
    before, after = _around(event[start:at], event[text_end:])
    shared = _shared(event[seq_end:shared_end])
    return b"".join((b'{"seq":%d,' % seq, shared, before, dumps(event[text:text_end].decode()), after))


@lru_cache(_MAX_KEPT)
def _shared(fields: bytes) -> bytes:
    """The members of an event with these fields, which have a time and an epoch, up to its kind."""
    return dumps(_as_dict(m.Event.FromString(fields)))[1:-1] + b',"token":'


@lru_cache(_MAX_KEPT)
def _around(before: bytes, after: bytes) -> tuple[bytes, bytes]:
    """The JSON of a token before and after its text."""
    token = m.Token.FromString(before + after)
    token.text = "\0"
    # Within another member, the quotes would be escaped.
    start, name, end = dumps(_as_dict(token)).partition(b'"text":')
    return start + name, end.removeprefix(b'"\\u0000"') + b"}"


def _as_dict(message: m.Event | m.Token) -> object:
    return MessageToDict(message, preserving_proto_field_name=True)
