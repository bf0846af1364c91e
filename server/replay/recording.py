"""Recordings: the frames that a client of the runtime's stream received, one JSON text per line.

A line is the frame as it came, a JSON object. A frame that is not one, or that has line ends, is written as a
JSON string with its text. What came after a person had answered the agent of `NAME` is the recording
`NAME.2`, then `NAME.3`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

#: The recordings that ship with the hub.
SHIPPED = Path(__file__).parent / "recordings"
#: The endings of files with a recording.
ENDINGS = (".jsonl", ".ndjson")


class RecordingError(Exception):
    """There are no recordings to serve, or not the one that is named. The text says which."""


@dataclass(frozen=True)
class Recording:
    """A recorded run: its frames as texts, in order. unfinished: the run had not ended when it was recorded,
    so it does not end when it is played."""

    name: str
    frames: Sequence[str]
    unfinished: bool = False

    @classmethod
    def read(cls, path: Path) -> Recording:
        """Read a file. It is split at line feeds only, because a frame may contain U+2028."""
        lines = path.read_bytes().decode().split("\n")
        return cls(path.stem, tuple(frame_of(line) for line in lines if line.strip()))

    def if_unfinished(self) -> Recording:
        """The same, marked as unfinished where no frame says that the run is over."""
        ended = any('"end"' in frame[:200] and _type(frame) == "end" for frame in self.frames)
        return replace(self, unfinished=not ended)

    @property
    def continuation(self) -> str:
        """The name of the recording of what came after a person had answered its agent."""
        return continuation_of(self.name)

    @cached_property
    def files(self) -> Sequence[Mapping[str, Any] | None]:
        """The newest file map at each frame, as the runtime sent it; None before the first."""
        found: list[Mapping[str, Any] | None] = []
        newest: Mapping[str, Any] | None = None
        for frame in self.frames:
            data = _data(frame, "on_state_update")
            if isinstance(data.get("files"), dict):
                newest = data["files"]
            found.append(newest)
        return found

    @cached_property
    def errors(self) -> Sequence[Mapping[str, Any] | None]:
        """The newest error at each frame, as an object; None before the first."""
        found: list[Mapping[str, Any] | None] = []
        newest: Mapping[str, Any] | None = None
        for frame in self.frames:
            error = _data(frame, "error").get("error")
            if error is not None:
                newest = error if isinstance(error, dict) else {"message": str(error)}
            found.append(newest)
        return found


def is_continuation(name: str) -> bool:
    """Whether a recording of this name goes on after another one."""
    stem, _, part = name.rpartition(".")
    return bool(stem) and part.isdecimal()


def continuation_of(name: str) -> str:
    """The name of the recording that goes on after the one of this name."""
    if not is_continuation(name):
        return f"{name}.2"
    stem, _, part = name.rpartition(".")
    return f"{stem}.{int(part) + 1}"


def frame_of(line: str) -> str:
    """The frame that a line of a recording stands for."""
    if line.lstrip().startswith('"'):
        try:
            # Half of a surrogate pair cannot be sent.
            return str(json.loads(line)).encode("utf-8", "replace").decode()
        except ValueError:
            pass
    return line


def line_of(frame: str) -> str:
    """The line of a recording for a frame that is a JSON object; `frame_of` gives the frame."""
    return text_line(frame) if "\n" in frame or "\r" in frame else frame


def text_line(frame: str) -> str:
    """The same for any other frame."""
    return json.dumps(frame)


def _type(frame: str) -> object:
    try:
        value = json.loads(frame)
    except (ValueError, RecursionError):
        return None
    return value.get("event_type") if isinstance(value, dict) else None


def _data(frame: str, event_type: str) -> dict[str, Any]:
    """The data of a frame of that type; empty for other types."""
    # Most frames are tokens, which are skipped without decoding.
    if f'"{event_type}"' not in frame[:200]:
        return {}
    try:
        value = json.loads(frame)
    except (ValueError, RecursionError):
        return {}
    data = value.get("data") if isinstance(value, dict) and value.get("event_type") == event_type else None
    return data if isinstance(data, dict) else {}


def read_recordings(directory: Path | None = None) -> Mapping[str, Recording]:
    """The recordings of a directory (every `*.jsonl` and `*.ndjson` that is not empty), or the shipped ones,
    by name.

    Raises RecordingError without any, or for one that cannot be read.
    """
    read = []
    for path in sorted(path for path in (directory or SHIPPED).glob("*") if path.suffix in ENDINGS):
        try:
            read.append(Recording.read(path))
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or "not UTF-8"
            raise RecordingError(f"the recording {path} cannot be read ({why})") from None
    found = {recording.name: recording for recording in read if recording.frames}
    if not found:
        raise RecordingError(f"there is no recording (*.jsonl, *.ndjson) in {directory or SHIPPED}")
    return found
