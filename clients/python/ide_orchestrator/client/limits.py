"""Limits of requests: what the contract says that their fields may hold.

The limits are options of the fields in the contract, the same for the hub and all clients.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from ide_orchestrator.v1.limits_pb2 import Limits
from ide_orchestrator.v1.limits_pb2 import limits as _LIMITS


def limits_of(message: type[Message], field: str) -> Limits:
    """The limits of a field; empty for one without any."""
    found: Limits = message.DESCRIPTOR.fields_by_name[field].GetOptions().Extensions[_LIMITS]
    return found


def wrong_fields(message: Message) -> list[str]:
    """The fields of a request that hold what the limits do not allow, in the order of the contract.

    A field that holds other messages is wrong when one of these has a wrong field. The hub refuses such a
    request as `invalid_argument` with the same `fields`. A newer hub may allow more.
    """
    return [field.name for field, limits in _checked(message.DESCRIPTOR) if _is_wrong(message, field, limits)]


@cache
def _checked(kind: Descriptor) -> Sequence[tuple[FieldDescriptor, Limits]]:
    """The fields of a message that may be wrong, with their limits."""
    return [
        (field, field.GetOptions().Extensions[_LIMITS])
        for field in kind.fields
        if field.GetOptions().HasExtension(_LIMITS) or _holds_checked(field)
    ]


def _holds_checked(field: FieldDescriptor) -> bool:
    kind = field.message_type
    return kind is not None and kind.file.package == "ide_orchestrator.v1" and bool(_checked(kind))


def _is_wrong(message: Message, field: FieldDescriptor, limits: Limits) -> bool:
    value: Any = getattr(message, field.name)
    if field.is_repeated:
        return (0 < limits.max_items < len(value)) or any(_is_wrong_value(each, limits) for each in value)
    if field.has_presence and not message.HasField(field.name):
        return False
    # A number that was not set.
    return value != 0 and _is_wrong_value(value, limits)


def _is_wrong_value(value: Any, limits: Limits) -> bool:
    if isinstance(value, Message):
        return bool(wrong_fields(value))
    if isinstance(value, str):
        return _is_wrong_text(value, limits)
    return bool(value < limits.min or 0 < limits.max < value)


def _is_wrong_text(text: str, limits: Limits) -> bool:
    return (
        len(text) < limits.min_characters
        or 0 < limits.max_characters < len(text)
        or (limits.not_blank and not text.strip())
        or (limits.no_nul and "\0" in text)
        or (bool(text and limits.pattern) and re.fullmatch(limits.pattern, text, re.ASCII) is None)
    )
