"""Limits of requests, as the contract says them: the options of its fields."""

from __future__ import annotations

from google.protobuf.message import Message

from server.wire import messages as m


def limits_of(message: type[Message], field: str) -> m.Limits:
    """What a field of a request may hold."""
    found: m.Limits = message.DESCRIPTOR.fields_by_name[field].GetOptions().Extensions[m.limits]
    return found
