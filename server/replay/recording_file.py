"""Reading one recording that may come from anybody: what is wrong with it is said with the line's number."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from server.replay.recording import Recording, RecordingError, continuation_of, frame_of

#: Bytes of the largest line, and of a recording with its continuations, which is kept in memory.
MAX_LINE_BYTES, MAX_BYTES = 64 << 20, 512 << 20
#: Levels of lists and objects in a frame.
MAX_DEPTH = 200
#: Continuations of one recording.
_MAX_PARTS = 1000

_STRING = re.compile(r'"[^"\\]*+(?>\\.[^"\\]*+)*+"', re.DOTALL)
_BRACKETS = re.compile(r"[\[\]{}]")


def read_recording(
    path: Path, *, max_line_bytes: int = MAX_LINE_BYTES, max_bytes: int = MAX_BYTES
) -> Mapping[str, Recording]:
    """The recording in a file and its continuations beside it, by name; the first is the file's own.

    A recording without an `end` is marked as unfinished. max_line_bytes, max_bytes: of the longest line, and
    of all lines. Raises RecordingError.
    """
    found: dict[str, Recording] = {}
    size = 0
    part = path
    while len(found) < _MAX_PARTS and (not found or part.is_file()):
        frames = []
        for number, line in _lines(part, max_line_bytes):
            size += len(line)
            if size > max_bytes:
                raise RecordingError(f"{path} has more than {max_bytes} bytes with its continuations")
            if line.strip():
                frames.append(_frame(line, f"line {number} of {part}"))
        if not frames:
            raise RecordingError(f"{part} has no frames: a recording has one on each line")
        found[part.stem] = Recording(part.stem, tuple(frames)).if_unfinished()
        part = part.with_name(continuation_of(part.stem) + part.suffix)
    return found


def _lines(path: Path, max_bytes: int) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with their numbers, from 1. Raises RecordingError."""
    number = 0
    try:
        with path.open("rb") as file:
            while line := file.readline(max_bytes + 1):
                number += 1
                if len(line) > max_bytes:
                    raise RecordingError(f"line {number} of {path} has more than {max_bytes} bytes")
                yield number, line
    except OSError as error:
        raise RecordingError(f"{path} cannot be read ({error.strerror})") from None


def _frame(line: bytes, where: str) -> str:
    """The frame of a line. Raises RecordingError."""
    try:
        text = line.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise RecordingError(f"{where} is not UTF-8 (byte {error.start + 1})") from None
    if _depth_exceeds(text):
        raise RecordingError(f"{where} is nested more than {MAX_DEPTH} levels deep")
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise RecordingError(f"{where} is not JSON ({error.msg} at column {error.colno})") from None
    except (ValueError, RecursionError):
        # Such as a number with more digits than are read.
        raise RecordingError(f"{where} is not JSON that can be read") from None
    if not isinstance(value, dict | str):
        raise RecordingError(f"{where} is neither a frame (a JSON object) nor a frame's text (a JSON string)")
    return frame_of(text)


def _depth_exceeds(text: str) -> bool:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    depth = 0
    for bracket in _BRACKETS.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False
