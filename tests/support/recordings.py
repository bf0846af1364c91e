"""The recorded runs that ship with the replay runtime, and what is known about them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from server.replay.recording import SHIPPED

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
