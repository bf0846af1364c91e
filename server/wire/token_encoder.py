"""Serialised events of tokens that differ only in one text, assembled from the bytes they share.

A message object for each token would take three times as long. The result is the same as the library's, which
writes fields in the order of their numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from google.protobuf.message import Message
from typing_extensions import override

from server.domain.journal.events import TextPlace, Token
from server.domain.journal.journal import TokenEncoder
from server.encoding.event_batch import DELIMITED, SHORT_VARINTS, VARINT, field_key, varint
from server.wire import messages as m
from server.wire.conversation import write_token
from server.wire.text import set_time

_EVENT = m.Event.DESCRIPTOR.fields_by_name
_SEQ_KEY, _EPOCH_KEY = (field_key(_EVENT[name].number, VARINT) for name in ("seq", "epoch"))
_TIME_KEY, _TOKEN_KEY = (field_key(_EVENT[name].number, DELIMITED) for name in ("create_time", "token"))
assert [field.name for field in m.Event.DESCRIPTOR.fields[:3]] == ["seq", "epoch", "create_time"]


class SplicingTokenEncoder(TokenEncoder):
    """Keeps the bytes that the tokens of a run share."""

    def __init__(self) -> None:
        self._token: Token | None = None
        #: The key of the text, and the bytes around it.
        self._text_key = b""
        #: The messages that the text is in, from the innermost one on: each with the bytes before and after
        #: what is in it, and its own key.
        self._around: list[tuple[bytes, bytes, bytes]] = []

    @override
    def encode(
        self,
        first_seq: int,
        epoch: int,
        time: datetime,
        token: Token,
        place: TextPlace,
        texts: Sequence[bytes],
    ) -> list[bytes]:
        if token is not self._token:
            self._prepare(token, place)
        timestamp = m.Timestamp()
        set_time(timestamp, time)
        moment = timestamp.SerializeToString()
        shared = _EPOCH_KEY + varint(epoch) + _TIME_KEY + varint(len(moment)) + moment
        events: list[bytes] = []
        text_key, around, short = self._text_key, self._around, SHORT_VARINTS
        for seq, text in enumerate(texts, first_seq):
            # A field without a value is not written.
            size = len(text)
            field = text_key + (short[size] if size < len(short) else varint(size)) + text if text else b""
            for before, after, key in around:
                size = len(before) + len(field) + len(after)
                length = short[size] if size < len(short) else varint(size)
                field = b"".join((key, length, before, field, after))
            number = short[seq] if seq < len(short) else varint(seq)
            events.append(b"".join((_SEQ_KEY, number, shared, field)))
        return events

    def _prepare(self, token: Token, place: TextPlace) -> None:
        self._token = token
        message: Any = m.Token()
        write_token(message, token)
        key = _TOKEN_KEY
        self._around = []
        for name in place.value:
            field = message.DESCRIPTOR.fields_by_name[name]
            self._around.insert(0, (*_without(message, name), key))
            key = field_key(field.number, DELIMITED)
            inner = getattr(message, name)
            message = inner[0] if field.is_repeated else inner
        self._text_key = key


def _without(message: Message, name: str) -> tuple[bytes, bytes]:
    """The message's bytes before and after a field, which are those of the fields with lower and with higher
    numbers."""
    rest = type(message)()
    rest.CopyFrom(message)
    rest.ClearField(name)
    whole = rest.SerializeToString(deterministic=True)
    number = message.DESCRIPTOR.fields_by_name[name].number
    for field, _ in rest.ListFields():
        if field.number > number:
            rest.ClearField(field.name)
    before = rest.SerializeToString(deterministic=True)
    return before, whole[len(before) :]
