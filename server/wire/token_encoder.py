"""Serialised events of tokens, assembled from the bytes that those of a run share.

A message object for each token would take three times as long. The result is the same as the library's, which
writes fields in the order of their numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from google.protobuf.message import Message

from server.domain.journal.events import Role, TextPlace, Token
from server.encoding.event_batch import DELIMITED, SHORT_VARINTS, VARINT, field_key, varint
from server.wire import messages as m
from server.wire.conversation import write_token
from server.wire.event_fields import SEQ_KEY, event_keys, shared_fields

_TOKEN_KEY = field_key(m.Event.DESCRIPTOR.fields_by_name["token"].number, DELIMITED)


def token_keys() -> dict[str, bytes]:
    """The keys of the fields that `server/compiled/rust` writes, by its names for them, in the order in
    which it writes those of one message. Those of `role` and `last` have the field's value, too."""
    token, call = m.Token.DESCRIPTOR.fields_by_name, m.ToolCallPiece.DESCRIPTOR.fields_by_name
    role = field_key(token["role"].number, VARINT)
    of_token = {
        "message_id": field_key(token["message_id"].number, DELIMITED),
        "role_ai": role + varint(Role.AI.value),
        "role_tool": role + varint(Role.TOOL.value),
        "text": field_key(token["text"].number, DELIMITED),
        "tool_calls": field_key(token["tool_calls"].number, DELIMITED),
        "node": field_key(token["node"].number, DELIMITED),
        "last": field_key(token["last"].number, VARINT) + varint(True),
        "name": field_key(token["name"].number, DELIMITED),
        "tool_call_id": field_key(token["tool_call_id"].number, DELIMITED),
        "status": field_key(token["status"].number, DELIMITED),
        "namespace": field_key(token["namespace"].number, DELIMITED),
    }
    of_call = {
        "call_index": field_key(call["index"].number, VARINT),
        "call_id": field_key(call["id"].number, DELIMITED),
        "call_name": field_key(call["name"].number, DELIMITED),
        "call_arguments": field_key(call["arguments"].number, DELIMITED),
    }
    assert [*of_token.values()] == sorted(of_token.values()), "fields are written in the order of numbers"
    assert [*of_call.values()] == sorted(of_call.values())
    return {**event_keys(), "token": _TOKEN_KEY, **of_token, **of_call}


class TokenEncoder:
    """Encodes tokens of one run that differ in their text alone. Keeps the bytes that they share."""

    def __init__(self) -> None:
        self._token: Token | None = None
        #: The key of the text, and the bytes around it.
        self._text_key = b""
        #: The messages that the text is in, from the innermost one on: each with the bytes before and after
        #: what is in it, and its own key.
        self._around: list[tuple[bytes, bytes, bytes]] = []

    def encode(
        self,
        first_seq: int,
        epoch: int,
        time: datetime,
        token: Token,
        place: TextPlace,
        texts: Sequence[bytes],
    ) -> list[bytes]:
        """The serialised events of tokens that are `token` with these texts in this place, which are UTF-8:
        from `first_seq` on, each as `EventCodec.encode` gives it."""
        if token is not self._token:
            self._prepare(token, place)
        shared = shared_fields(epoch, time)
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
            events.append(b"".join((SEQ_KEY, number, shared, field)))
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
