"""Requests in proto-JSON, as Connect sends them, to messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from server.domain.errors import InvalidArgument

T = TypeVar("T", bound=Message)

#: The library's text begins with the field, and may go on with its value.
_FIELD = re.compile(r"Failed to parse ([A-Za-z0-9_]{1,100}) field: ")


def message_of_json(kind: type[T], value: object) -> T:
    """The message of a JSON value. Unknown fields are ignored, as in protobuf.

    Raises InvalidArgument, which names the field and not its value.
    """
    if not isinstance(value, Mapping):
        raise InvalidArgument({"body": "must be a JSON object"})
    try:
        return ParseDict(dict(value), kind(), ignore_unknown_fields=True)
    except ParseError as error:
        found = _FIELD.match(str(error))
    except (ValueError, TypeError, AttributeError, RecursionError):
        found = None
    raise InvalidArgument({found[1] if found else "body": "is not the JSON of this field's type"})
