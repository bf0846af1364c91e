"""What a scripted run sends: recorded runs, and made ones in which no two frames are alike."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from server.encoding.frame_delta import frame_digest
from server.replay.recording import SHIPPED

#: Digests of a file map: path to SHA-256 in hexadecimal.
FileDigests = dict[str, str]


@dataclass(frozen=True)
class Script:
    """The frames of a run, in order; the last is `end`, or the `error` of a run that fails without one."""

    frames: tuple[bytes, ...]

    @cached_property
    def digests(self) -> list[str]:
        """The journal's digest of each frame, in hexadecimal."""
        return [frame_digest(frame).hex() for frame in self.frames]

    @cached_property
    def maps(self) -> list[Mapping[str, Any] | None]:
        """The file map as of each frame; None before the first."""
        found: list[Mapping[str, Any] | None] = []
        now: Mapping[str, Any] | None = None
        for frame in self.frames:
            data = _data(frame)
            if isinstance(data.get("files"), dict):
                now = data["files"]
            found.append(now)
        return found

    @cached_property
    def error(self) -> int | None:
        """The place of the `error` frame."""
        places = [index for index, frame in enumerate(self.frames) if _type(frame) == "error"]
        return places[0] if places else None

    @cached_property
    def ends(self) -> bool:
        """Whether the last frame is an `end`."""
        return _type(self.frames[-1]) == "end"

    def snapshot(self, count: int) -> bytes | None:
        """What a late subscriber of a live channel gets: the last state frame with files."""
        for frame in reversed(self.frames[:count]):
            if isinstance(_data(frame).get("files"), dict):
                return frame
        return None


def digests_of(files: Mapping[str, Any] | None) -> FileDigests:
    """The digests of a file map in any of the runtime's forms. Read apart from the hub's own reading,
    so that the two are held against each other."""
    return {path: hashlib.sha256(_content(value)).hexdigest() for path, value in (files or {}).items()}


def _content(value: Any) -> bytes:
    content = value["content"] if isinstance(value, dict) else value
    if isinstance(content, list):
        content = "\n".join(content)
    if isinstance(value, dict) and value.get("encoding") == "base64":
        return base64.b64decode(content)
    return str(content).encode("utf-8", "surrogatepass")


def _type(frame: bytes) -> str:
    return str(json.loads(frame).get("event_type"))


def _data(frame: bytes) -> dict[str, Any]:
    if b'"on_state_update"' not in frame[:60]:
        return {}
    data = json.loads(frame)["data"]
    return data if isinstance(data, dict) else {}


@lru_cache(maxsize=512)
def script(name: str, generation: int = 1) -> Script:
    """A recording by its name, or a made run: `made-SEED-COUNT`; `asks-SEED-COUNT`, which ends with a
    question; `sibling-SEED-COUNT`, in which another task's state without the question follows it;
    `fails-SEED-COUNT`, which ends with an `error` and no `end`; `big-SEED-COUNT`, whose tokens are large. A
    made run differs by `generation`: the runtime's first, second, … execution of the job.
    """
    kind, _, rest = name.partition("-")
    if kind in ("made", "asks", "sibling", "fails", "big") and rest:
        seed, count = map(int, rest.split("-"))
        return Script(tuple(_made(seed, count, generation, kind)))
    lines = (SHIPPED / f"{name}.jsonl").read_bytes().split(b"\n")
    return Script(tuple(line for line in lines if line.strip()))


def _frame(event_type: str, **data: Any) -> bytes:
    return json.dumps({"event_type": event_type, "data": data}, separators=(",", ":")).encode()


#: Characters that make a large token.
_BIG = 8000


def _made(seed: int, count: int, generation: int, kind: str) -> list[bytes]:
    """Frames: tokens, every sixth a state with the messages and files so far, and the end; `count` of them,
    unless the kind adds one."""
    frames: list[bytes] = []
    files: dict[str, Any] = {}
    messages: list[dict[str, str]] = []
    mark = f"{seed}.{generation}"
    for index in range(count - 2):
        if index % 6 == 5:
            number = index // 6
            messages.append({"type": "ai", "id": f"m{mark}.{number}", "content": f"step {index} of {mark}"})
            lines = [f"line {line} of {mark}" for line in range(number % 5 + 1)]
            files[f"/made/{number % 4}.md"] = {"content": [*lines, f"as of {index}"]}
            if number % 7 == 6:
                files.pop(next(iter(files)))
            frames.append(_frame("on_state_update", messages=messages, files=files))
        else:
            text = f"{mark}:{index} " + "x" * (_BIG if kind == "big" else 0)
            chunk = f"(AIMessageChunk(content='{text}', id='m{mark}.{index // 6}'), {{}})"
            frames.append(_frame("on_llm_stream", raw_event=chunk))
    files["/made/last.md"] = {"content": [f"the last of {mark}"]}
    last = {"messages": messages, "files": files}
    if kind in ("asks", "sibling"):
        question = {"__interrupt__": "[Interrupt(value='Go on?')]"}
        frames.append(_frame("on_state_update", **last, **question))
    if kind != "asks":
        frames.append(_frame("on_state_update", **last))
    if kind == "fails":
        frames.append(_frame("error", error={"message": f"{mark} failed"}, context="execution_failed"))
    else:
        frames.append(_frame("end"))
    return frames
