"""Recordings: the frames that a client of the runtime's stream received, one JSON text per line.

What came after a person had answered the agent of `NAME` is the recording `NAME.2`, then `NAME.3`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

#: The recordings that ship with the hub.
SHIPPED = Path(__file__).parent / "recordings"


class RecordingError(Exception):
    """There are no recordings to serve, or not the one that is named. The text says which."""


@dataclass(frozen=True)
class Recording:
    """A recorded run: its frames as texts, in order."""

    name: str
    frames: Sequence[str]

    @classmethod
    def read(cls, path: Path) -> Recording:
        """Read a `.jsonl` file. It is split at line feeds only, because a frame may contain U+2028."""
        lines = path.read_bytes().decode().split("\n")
        return cls(path.stem, tuple(line for line in lines if line.strip()))

    @property
    def continuation(self) -> str:
        """The name of the recording of what came after a person had answered its agent."""
        stem, _, part = self.name.rpartition(".")
        return f"{stem}.{int(part) + 1}" if stem and part.isdecimal() else f"{self.name}.2"

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


def _data(frame: str, event_type: str) -> dict[str, Any]:
    """The data of a frame of that type; empty for other types."""
    # Most frames are tokens, which are skipped without decoding.
    if f'"{event_type}"' not in frame[:200]:
        return {}
    try:
        value = json.loads(frame)
    except ValueError:
        return {}
    data = value.get("data") if isinstance(value, dict) and value.get("event_type") == event_type else None
    return data if isinstance(data, dict) else {}


def read_recordings(directory: Path | None = None) -> Mapping[str, Recording]:
    """The recordings of a directory (every `*.jsonl` that is not empty), or the shipped ones, by name.

    Raises RecordingError without any, or for one that cannot be read.
    """
    read = []
    for path in sorted((directory or SHIPPED).glob("*.jsonl")):
        try:
            read.append(Recording.read(path))
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or "not UTF-8"
            raise RecordingError(f"the recording {path} cannot be read ({why})") from None
    found = {recording.name: recording for recording in read if recording.frames}
    if not found:
        raise RecordingError(f"there is no recording (*.jsonl) in {directory or SHIPPED}")
    return found
