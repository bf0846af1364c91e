"""The shape of a frame that is kept uninterpreted: what kind it is and how it is built, without its values.

Frames of the same shape are understood, or not, together. A shape is shown to operators, so it has nothing
that a user or a model wrote: no values, and no keys that are data, such as the paths of a map of files.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from server.domain.journal.events import EventKind, FrameReason, UpstreamFrame
from server.encoding.structure import JSON, exceeds

#: The reasons for which a frame is in quarantine: the hub does not understand it. Errors that the runtime
#: reports are understood, and so is a further `end`.
REASONS = (FrameReason.UNKNOWN_TYPE, FrameReason.MALFORMED, FrameReason.TOO_COMPLEX)
#: Longest structure and event type, in characters.
MAX_STRUCTURE_CHARS, MAX_TYPE_CHARS = 2000, 100
#: Levels of a structure, and members of an object that are named; one with more is a map.
_MAX_LEVELS, _MAX_MEMBERS = 8, 40
#: Values of a frame that is read.
_MAX_VALUES = 150_000
#: A key that is a name and not data. Digits, dots, slashes and spaces are of ids, paths and texts.
_NAME = re.compile(r"[A-Za-z_$][A-Za-z_$-]{0,39}[0-9]?")
#: Stands for what is not shown.
_REST = "…"


@dataclass(frozen=True, slots=True)
class Shape:
    """A shape. id: the same for the same shape, on every replica and in every release. structure: of the
    frame, such as `{data: {progress: num}, event_type: str}`; empty for one that is not read."""

    id: str
    reason: FrameReason
    event_type: str
    structure: str


def shape_of(kind: EventKind) -> Shape | None:
    """The shape of the frame that an event keeps; None for an event without a frame in quarantine."""
    if not isinstance(kind, UpstreamFrame) or kind.reason not in REASONS:
        return None
    event_type = _shown_type(kind.event_type)
    structure = structure_of(kind.body) if kind.reason is not FrameReason.TOO_COMPLEX else ""
    digest = hashlib.sha256("\0".join((kind.reason.name, event_type, structure)).encode()).hexdigest()
    return Shape(digest[:16], kind.reason, event_type, structure)


def structure_of(frame: bytes) -> str:
    """The structure of a frame's text, or what is wrong with it."""
    if exceeds(frame, JSON, max_values=_MAX_VALUES, max_members=_MAX_VALUES):
        return "many values"
    try:
        value = json.loads(frame.decode())
    except UnicodeDecodeError:
        return "not UTF-8"
    except (ValueError, RecursionError):
        return "not JSON"
    text = _structure(value, 0)
    return text if len(text) <= MAX_STRUCTURE_CHARS else text[: MAX_STRUCTURE_CHARS - 1] + _REST


def _structure(value: object, level: int) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case int() | float():
            return "num"
        case str():
            return "str"
        case dict() | list() if value and level == _MAX_LEVELS:
            return _REST
        case list():
            return f"[{_union(value, level)}]"
        case dict() if len(value) <= _MAX_MEMBERS and all(map(_NAME.fullmatch, value)):
            members = sorted((key, _structure(value[key], level + 1)) for key in value)
            return f"{{{', '.join(f'{key}: {structure}' for key, structure in members)}}}"
        case dict():
            named = {key: each for key, each in value.items() if _NAME.fullmatch(key)}
            if len(value) > _MAX_MEMBERS or not named:
                return f"{{*: {_union(value.values(), level)}}}"
            others = [each for key, each in value.items() if key not in named]
            members = sorted((key, _structure(each, level + 1)) for key, each in named.items())
            shown = "".join(f"{key}: {structure}, " for key, structure in members)
            return f"{{{shown}*: {_union(others, level)}}}"
    return _REST


def _union(values: Iterable[object], level: int) -> str:
    """The structures of a list's items, or of the values of a map: each once, in order."""
    return " | ".join(sorted({_structure(each, level + 1) for each in values}))


def _shown_type(event_type: str) -> str:
    """The event type: a name of the runtime's. What is none could be anything."""
    if len(event_type) <= MAX_TYPE_CHARS and re.fullmatch(r"[\w.:/|-]*", event_type, re.ASCII):
        return event_type
    return _REST
