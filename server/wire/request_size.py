"""What a serialised request holds is counted before it is parsed: that may take many times its size.

A message without content has two bytes, and a hundred or more as an object.
"""

from __future__ import annotations

from server.domain.errors import InvalidArgument
from server.encoding.event_batch import read_varint
from server.wire import messages as m
from server.wire.agent_definition import MAX_BYTES

#: Fields that a request may have, those inside of others not counted: the largest have a thousand decisions.
MAX_FIELDS = 4_000
#: No definition that may be stored has more bytes as a message: a number takes 11 where JSON has 3.
MAX_DEFINITION_MESSAGE_BYTES = 5 * MAX_BYTES

_DEFINITION = m.CreateWorkflowRequest.DESCRIPTOR.fields_by_name["agent_definition"].number
#: Wire types of a field: a number, bytes with their length, and bytes of a fixed size.
_VARINT, _LENGTH_DELIMITED, _FIXED = 0, 2, {1: 8, 5: 4}


def check_request_size(raw: bytes) -> None:
    """Check how many fields a serialised request has, and the size of a definition of a workflow to create.
    Raises InvalidArgument."""
    # Each field has two bytes or more.
    if len(raw) <= 2 * MAX_FIELDS:
        return
    at = 0
    try:
        for _ in range(MAX_FIELDS):
            key, at = read_varint(raw, at)
            kind = key & 7
            if kind == _VARINT:
                _, at = read_varint(raw, at)
            elif kind == _LENGTH_DELIMITED:
                size_bytes, at = read_varint(raw, at)
                if key >> 3 == _DEFINITION and size_bytes > MAX_DEFINITION_MESSAGE_BYTES:
                    raise InvalidArgument(
                        {"agent_definition": f"must have at most {MAX_BYTES} bytes of JSON"}
                    )
                at += size_bytes
            else:
                # A group has no size: what is in it counts.
                at += _FIXED.get(kind, 0)
            if at >= len(raw):
                return
    except IndexError:
        # The parser refuses it.
        return
    raise InvalidArgument({"body": f"must have at most {MAX_FIELDS} fields"})
