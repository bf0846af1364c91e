"""What the bench's runtime plays: frames as deepagents-runtime sends them, made of the shipped recordings.

A load has a name:

- that of a shipped recording;
- `tokens-N`: N token frames of `long_run`, printed chunks of about 1 KB, and the end;
- `states-text-N` and `states-lines-N`: N state frames with 20 files in 125 KB, of which each changes one. A
  file's content is one text, or a list of lines;
- `state-N-mib`: one state frame of that size.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from server.replay.recording import Recording, read_recordings

_FILES, _LINES = 20, 100
_TIME = "2026-01-31T12:00:00+00:00"


@cache
def load(name: str) -> Recording:
    """The load of that name. Raises KeyError."""
    shipped = read_recordings()
    if name in shipped:
        return shipped[name]
    kind, *rest = name.split("-")
    if kind == "tokens":
        tokens = itertools.cycle(_token_frames())
        frames = [next(tokens) for _ in range(int(rest[0]))]
    elif kind == "states":
        frames = list(_state_frames(int(rest[1]), _as_lines if rest[0] == "lines" else _as_text))
    elif kind == "state":
        frames = [_state_frame({"/large.md": _as_text(_line(0, 0) * (int(rest[0]) * 11_000))})]
    else:
        raise KeyError(name)
    return Recording(name, (*frames, shipped["long_run"].frames[-1]))


@cache
def _token_frames() -> list[str]:
    """Those of the long run that bring text."""
    return [
        frame
        for frame in read_recordings()["long_run"].frames
        if frame.startswith('{"event_type":"on_llm_stream"') and "AIMessageChunk(content='')" not in frame
    ]


def _line(file: int, number: int) -> str:
    return f"{number:3} of file {file:2}: a line as an agent writes it, of some sixty bytes\n"


def _as_text(text: str) -> dict[str, Any]:
    return {"content": text, "encoding": "utf-8", "created_at": _TIME, "modified_at": _TIME}


def _as_lines(text: str) -> dict[str, Any]:
    return {"content": text.split("\n"), "created_at": _TIME, "modified_at": _TIME}


def _state_frames(count: int, form: Callable[[str], dict[str, Any]]) -> Iterator[str]:
    lines = [[_line(file, number) for number in range(_LINES)] for file in range(_FILES)]
    for number in range(count):
        lines[number % _FILES][number * 7 % _LINES] = (
            f"edit {number}: another line that the agent has written here\n"
        )
        yield _state_frame({f"/docs/{file:02}.md": form("".join(text)) for file, text in enumerate(lines)})


def _state_frame(files: dict[str, Any]) -> str:
    """A state frame of the long run, with other files."""
    first: dict[str, Any] = json.loads(read_recordings()["long_run"].frames[0])
    first["data"]["files"] = files
    return json.dumps(first, ensure_ascii=False, separators=(",", ":"))
