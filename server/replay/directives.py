"""Which recording a job requests, and how it is played.

A directive may be anywhere in the prompt: `[[replay:NAME option=value …]]`. The options:

- `speed=N`: N times the nominal 20 frames per second; without it, as fast as possible;
- `drop=K`: after frame K the connection breaks, for the first subscriber that reaches it;
- `stall=K`: after frame K nothing comes for `stall_s` seconds (5), for the first subscriber that reaches it;
- `duplicate=K`: frame K comes twice;
- `cut=K`: of frame K only the first half comes;
- `silent=K`: after frame K nothing follows, and the run stays `running`.

The prompt is `agent_definition.user_request`, or the contents of `input_payload.messages` if the former has
no directive. The last directive wins. Without any, `agent_definition.replay` is used; it has no brackets:
`NAME option=value …`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

FRAMES_PER_SECOND = 20
#: Seconds of a stall, unless the directive says otherwise.
STALL_S = 5.0
#: The options that name a frame at which something goes wrong.
FAULTS = ("drop", "stall", "duplicate", "cut", "silent")

N = TypeVar("N", int, float)

_DIRECTIVE = re.compile(r"\[\[replay:([^\[\]]*)\]\]")
_NUMBERS: Mapping[str, type[int] | type[float]] = {
    "speed": float,
    "stall_s": float,
    **dict.fromkeys(FAULTS, int),
}


class BadDirective(ValueError):
    """A directive is invalid. The text says why."""


@dataclass(frozen=True, slots=True)
class Directive:
    """How to play a recording. `name` None means the default one, `speed` None no pauses."""

    name: str | None = None
    speed: float | None = None
    drop: int | None = None
    silent: int | None = None
    duplicate: int | None = None
    cut: int | None = None
    stall: int | None = None
    stall_s: float = STALL_S

    def without_faults(self) -> Directive:
        """The same, with nothing that goes wrong."""
        return Directive(self.name, self.speed)


def find_directive(
    agent_definition: Mapping[str, Any],
    input_payload: Mapping[str, Any],
    default: Directive = Directive(),
) -> Directive:
    """The directive of a job, `default` when it has none. Raises BadDirective."""
    for texts in (_texts(agent_definition.get("user_request")), _message_texts(input_payload)):
        found = [words for text in texts for words in _DIRECTIVE.findall(text)]
        if found:
            return parse_directive(found[-1])
    words = agent_definition.get("replay")
    if words is None:
        return default
    if not isinstance(words, str):
        raise BadDirective("agent_definition.replay must be the name of a recording")
    return parse_directive(words)


def _message_texts(input_payload: Mapping[str, Any]) -> Iterator[str]:
    messages = input_payload.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict):
            yield from _texts(message.get("content"))


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
        raise BadDirective("a replay directive must begin with the name of a recording")
    found: dict[str, Any] = {}
    for option in options:
        key, separator, value = option.partition("=")
        if key not in _NUMBERS or not separator:
            known = ", ".join(f"{each}=" for each in _NUMBERS)
            raise BadDirective(f"there is no replay option {option[:40]!r}; there are: {known}")
        found[key] = positive(f"the replay option {key}", value, _NUMBERS[key])
    return Directive(name, **found)


def positive(what: str, text: str, kind: Callable[[str], N]) -> N:
    """A finite number above 0. Raises BadDirective, with `what` as the number's name."""
    try:
        number = kind(text)
        if math.isfinite(number) and number > 0:
            return number
    except ValueError:
        pass
    raise BadDirective(f"{what} must be a number above 0")
