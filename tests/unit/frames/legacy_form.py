"""The legacy frames that readers must get for a frame, computed independently of the code under test."""

from __future__ import annotations

import base64
import json
import math
import re
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
    value = file if isinstance(file, dict) else {"content": file}
    content = value.get("content")
    if isinstance(content, list) and all(isinstance(line, str) for line in content):
        content = "\n".join(content)
    if not isinstance(content, str):
        return file
    described = {}
    for key, member in value.items():
        if key in ("created_at", "modified_at"):
            if member is not None:
                described[key] = (
                    member if isinstance(member, str) else json.dumps(member, separators=(",", ":"))
                )
        elif key not in ("content", "encoding"):
            described[key] = member
    encoding = value.get("encoding")
    if str(encoding).lower() == "base64":
        decoded = _decoded(content)
        if decoded is not None:
            return {"content": [base64.b64encode(decoded).decode()], "encoding": "base64", **described}
    if encoding not in (None, "utf-8"):
        described["encoding"] = encoding
    return {"content": content.split("\n"), **described}


def _decoded(text: str) -> bytes | None:
    """The bytes of base64 in lines, in either alphabet, with or without its padding or the head of a URL."""
    if text.lstrip()[:5].lower() == "data:" and ";base64," in text.partition(",")[0].lower() + ",":
        text = text.partition(",")[2]
    text = "".join(line.strip(" \t") for line in text.replace("\r", "\n").split("\n"))
    found = re.fullmatch(r"([A-Za-z0-9+/_-]*)={0,2}", text, re.ASCII)
    if found is None or len(found[1]) % 4 == 1:
        return None
    return base64.urlsafe_b64decode(found[1].replace("+", "-").replace("/", "_") + "==")
