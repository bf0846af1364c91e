"""A JSON object that is kept as its text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from typing_extensions import override

from server.encoding.json_text import dump


class JsonObject(Mapping[str, Any]):
    """Reads as the object. Its values are made at each look: kept, those of an agent's definition may take
    twenty times as much memory as the text."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        #: The JSON text, which is an object's.
        self.text = text

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> JsonObject:
        """The object of JSON values. Members that are kept as text are not read."""
        if isinstance(values, JsonObject):
            return values
        members = (f"{_text_of(name)}:{_text_of(value)}" for name, value in values.items())
        return cls("{" + ",".join(members) + "}")

    @override
    def __getitem__(self, name: str) -> Any:
        return values_of(self)[name]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(values_of(self))

    @override
    def __len__(self) -> int:
        return len(values_of(self))


def _text_of(value: Any) -> str:
    return value.text if isinstance(value, JsonObject) else dump(value).decode("ascii")


def values_of(value: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an object, to be read more than once, or to be written."""
    return dict(json.loads(value.text) if isinstance(value, JsonObject) else value)
