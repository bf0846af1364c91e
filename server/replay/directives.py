"""Which recording a job asks for, and how it is to be played.

A directive stands anywhere in the prompt: `[[replay:NAME option=value …]]`. The options:

- `speed=N`: N times the nominal pace of 20 frames a second; without it, as fast as it goes;
- `drop=K`: behind frame K the connection breaks, for the first subscriber that comes so far;
- `silent=K`: behind frame K nothing more comes, and the run stays `running`.

The prompt is `agent_definition.user_request`; where that has no directive, the contents of
`input_payload.messages`. The last directive in it counts. Otherwise `agent_definition.replay` counts,
which is the same without the brackets: `NAME option=value …`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

FRAMES_PER_SECOND = 20

_DIRECTIVE = re.compile(r"\[\[replay:([^\[\]]*)\]\]")


class BadDirective(ValueError):
    """A directive that cannot be followed; the text says why."""


@dataclass(frozen=True, slots=True)
class Directive:
    """How to play a recording. `name` None: the default one. `speed` None: without pauses."""

    name: str | None = None
    speed: float | None = None
    drop: int | None = None
    silent: int | None = None


def find_directive(agent_definition: Mapping[str, Any], input_payload: Mapping[str, Any]) -> Directive:
    """The directive of a job; the plain `Directive()` when it has none. Raises BadDirective."""
    prompts = list(_texts(agent_definition.get("user_request")))
    messages = input_payload.get("messages")
    if isinstance(messages, list):
        contents = [
            text for item in messages if isinstance(item, dict) for text in _texts(item.get("content"))
        ]
    else:
        contents = []
    for texts in (prompts, contents):
        found = [words for text in texts for words in _DIRECTIVE.findall(text)]
        if found:
            return parse_directive(found[-1])
    wanted = agent_definition.get("replay")
    if wanted is None:
        return Directive()
    if not isinstance(wanted, str):
        raise BadDirective("agent_definition.replay is the name of a recording")
    return parse_directive(wanted)


def _texts(content: object) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for block in content:
            if isinstance(block, dict) and isinstance(block.get("text"), str):
                yield block["text"]


def parse_directive(words: str) -> Directive:
    """The directive `NAME option=value …`. Raises BadDirective."""
    name, *options = words.split() or [""]
    if not name or "=" in name:
        raise BadDirective("a replay directive begins with the name of a recording")
    speed: float | None = None
    counts: dict[str, int] = {}
    for option in options:
        key, separator, value = option.partition("=")
        if key not in ("speed", "drop", "silent") or not separator:
            raise BadDirective(f"unknown replay option {option[:40]!r}: there are speed=, drop= and silent=")
        try:
            if key == "speed":
                speed = float(value)
                if not (math.isfinite(speed) and speed > 0):
                    raise ValueError
            else:
                counts[key] = int(value)
                if counts[key] < 1:
                    raise ValueError
        except ValueError:
            raise BadDirective(f"the replay option {key} is a number above 0") from None
    return Directive(name, speed, counts.get("drop"), counts.get("silent"))
