"""The recorded runs that ship with the replay runtime, what is known about them and their files, and
recordings that tests write."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from server.replay.recording import SHIPPED
from tests.support.runtime import END, state_frame

NAMES = ("short_run", "long_run", "error_mid_stream")


@cache
def frames(name: str) -> tuple[bytes, ...]:
    """The frames of a recording, as they came."""
    return tuple((SHIPPED / f"{name}.jsonl").read_bytes().removesuffix(b"\n").split(b"\n"))


@cache
def expected(name: str) -> dict[str, Any]:
    """Outcome, frame counts and final files, from the recording's own notes."""
    path = Path(__file__).parent.parent / "data" / "frames" / "expected.json"
    found: dict[str, Any] = json.loads(path.read_bytes())[f"{name}.jsonl"]
    return found


def link_shipped(folder: Path, pattern: str = "*") -> Path:
    """The shipped recordings whose names match, in a folder; the folder."""
    for path in SHIPPED.glob(f"{pattern}.jsonl"):
        (folder / path.name).symlink_to(path)
    return folder


def write_recording(folder: Path, name: str, *states: Mapping[str, Any]) -> None:
    """A recording whose state frames have these files, one after the other, and that then ends."""
    write_frames(folder, name, *(state_frame(files=files) for files in states))


def write_frames(folder: Path, name: str, *frames: Mapping[str, Any]) -> None:
    """A recording with these frames, that then ends."""
    (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(frame)}\n" for frame in (*frames, END)))


def content_of(file: Mapping[str, Any]) -> bytes:
    """The bytes of a file as the HTTP interface gives it."""
    if file.get("encoding") == "base64":
        return base64.b64decode("".join(file["content"]))
    return "\n".join(file["content"]).encode("utf-8", "surrogatepass")


def facts_of(files: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Size, SHA-256 and times of each file, as a recording's notes have them."""
    return {
        path: {
            "bytes": len(content_of(file)),
            "sha256": hashlib.sha256(content_of(file)).hexdigest(),
            "created_at": file.get("created_at"),
            "modified_at": file.get("modified_at"),
        }
        for path, file in (files or {}).items()
    }


#: A text of the frames of `odd`.
ODD_TEXT = "a prompt that nobody else is to read"


def write_odd_recording(folder: Path) -> Path:
    """The shipped recordings, and one called `odd`, whose first three frames the hub does not understand."""
    link_shipped(folder)
    sent = [
        {"event_type": "thought", "data": {"text": ODD_TEXT, "level": 1}},
        {"event_type": "thought", "data": {"text": ODD_TEXT, "level": 2}},
        {"event_type": "on_llm_stream", "data": 3},
        state_frame(files={"/a.md": {"content": "A", "encoding": "utf-8"}}),
        {"event_type": "end", "data": {}},
    ]
    (folder / "odd.jsonl").write_text("".join(f"{json.dumps(frame)}\n" for frame in sent))
    return folder
