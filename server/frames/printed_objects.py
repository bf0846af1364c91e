"""Objects in Python's printed form that are a call: models, data classes, and classes like `dict`."""

from __future__ import annotations

import re
from typing import Any

from server.frames import literals, printed
from server.frames.literals import Printed
from server.frames.printed import Unreadable

_KEYWORD = re.compile(r"(\w+)=(.*)", re.DOTALL)


def members(text: str) -> dict[str, Any] | None:
    """The entries of a printed dict, such as `{'a': 1}`, `defaultdict(<class 'dict'>, {'a': 1})` or
    `OrderedDict([('a', 1)])`, or the fields of an object, as in `Model(a=1)`. None for another text."""
    if not printed.is_call(text):
        value = literals.value(text)
        return value if isinstance(value, dict) else None
    try:
        arguments, end = printed.parts(text, text.index("("))
    except Unreadable:
        return None
    if end != len(text) or not arguments:
        return None
    fields = [_KEYWORD.fullmatch(argument) for argument in arguments]
    if all(fields):
        return {field[1]: literals.value(field[2]) for field in fields if field is not None}
    # A class like `dict` prints what it holds as its last argument.
    return _entries(literals.value(arguments[-1]))


def _entries(value: Any) -> dict[str, Any] | None:
    match value:
        case dict():
            return value
        case [*pairs] if pairs and all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            keys = [pair[0] for pair in pairs]
            if all(isinstance(key, str) and not isinstance(key, Printed) for key in keys):
                return dict(pairs)
    return None
