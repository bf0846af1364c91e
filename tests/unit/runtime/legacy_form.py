"""The legacy frames that readers must get for a frame, computed independently of the code under test."""

from __future__ import annotations

import base64
import json
import math
from typing import Any


def number(text: str) -> float | str:
    """A JSON number; as its text when it is beyond a double's range."""
    return text if math.isinf(float(text)) else float(text)


def lenient(frame: bytes) -> Any:
    """The frame's value, with the numbers that JSON has not as strings. Raises ValueError."""
    return json.loads(frame.decode(), parse_constant=str, parse_float=number)


def in_seed_form(frame: bytes) -> Any:
    """The frame's value with the files of its state as lists of lines."""
    try:
        value = lenient(frame)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        return {"event_type": "unknown", "data": {"raw": frame.decode("utf-8", "replace")}}
    data = value.get("data")
    if value.get("event_type") == "on_state_update" and isinstance(data, dict):
        files = data.get("files")
        if isinstance(files, dict):
            value = {**value, "data": {**data, "files": files_in_seed_form(files)}}
    value.pop("seq", None)
    return value


def files_in_seed_form(files: dict[str, Any]) -> dict[str, Any]:
    """A file map in the legacy form; a value that is not a file is unchanged, null means deleted."""
    return {path: _file(file) for path, file in files.items() if file is not None}


def _file(file: Any) -> Any:
    if isinstance(file, str):
        return {"content": file.split("\n")}
    if not isinstance(file, dict):
        return file
    content = file.get("content")
    if isinstance(content, list) and all(isinstance(line, str) for line in content):
        content = "\n".join(content)
    times = {key: file[key] for key in ("created_at", "modified_at") if file.get(key) is not None}
    if not isinstance(content, str) or not all(isinstance(time, str) for time in times.values()):
        return file
    if file.get("encoding") == "base64":
        try:
            content = base64.b64encode(base64.b64decode(content, validate=True)).decode()
        except ValueError:
            pass
        else:
            return {"content": [content], "encoding": "base64", **times}
    return {"content": content.split("\n"), **times}
