"""Agent definitions: what a workflow's definition may hold, and the default one.

The runtime checks what a definition says. The hub only refuses what it cannot store (jsonb holds neither
U+0000 nor lone surrogates) or cannot send (protobuf limits nesting).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import Value

from server.encoding.json_text import replace_surrogates
from server.wire import messages as m

#: Each level of JSON is three levels of a Struct, and protobuf reads at most 100.
MAX_DEPTH = 30
MAX_BYTES = 256 * 1024
#: Up to this number, doubles hold every whole number exactly.
_EXACT = 2**53

#: The definition of workflows that are created without one: the runtime refuses an empty one with 422.
DEFAULT_DEFINITION: Mapping[str, Any] = {
    "tool_definitions": [],
    "nodes": [
        {
            "id": "refiner",
            "type": "Orchestrator",
            "config": {
                "name": "Refiner",
                "system_prompt": (
                    "You change the specification files of a workflow as the user asks. Read the files "
                    "first, change what the request needs and nothing else, and write each changed file "
                    "with the file tools."
                ),
                "model": {"provider": "openai", "model": "gpt-4.1-mini"},
                "tools": [],
            },
        }
    ],
    "edges": [],
}


def definition_error(definition: Mapping[str, Any]) -> str | None:
    """What is wrong with a definition; None if nothing."""
    wrong = _value_error(definition)
    if wrong is not None:
        return wrong
    try:
        size = len(json.dumps(definition, ensure_ascii=False, allow_nan=False).encode())
    except ValueError:
        return "must not hold NaN or infinite numbers"
    return f"must have at most {MAX_BYTES} bytes of JSON" if size > MAX_BYTES else None


def definition_of(struct: m.Struct) -> dict[str, Any]:
    """A message's definition as JSON values.

    A Struct has only doubles: whole numbers become integers again, where doubles hold them exactly.
    """
    return {name: _value_of(value) for name, value in struct.fields.items()}


def _value_of(value: Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return definition_of(value.struct_value)
    if kind == "list_value":
        return [_value_of(item) for item in value.list_value.values]
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) <= _EXACT else number
    return None if kind is None or kind == "null_value" else getattr(value, kind)


def _value_error(root: object) -> str | None:
    """What is wrong with a JSON value; None if nothing.

    Goes level by level, so that no depth of nesting exhausts the stack.
    """
    level = [root]
    for _ in range(MAX_DEPTH):
        texts = [value for value in level if isinstance(value, str)]
        below: list[object] = []
        for value in level:
            if isinstance(value, Mapping):
                texts.extend(map(str, value))
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
        if any("\0" in text for text in texts):
            return "must not hold U+0000"
        if any(replace_surrogates(text) is not text for text in texts):
            return "must not hold lone surrogates"
        if not below:
            return None
        level = below
    return f"must not be nested deeper than {MAX_DEPTH} levels"
