"""The JSON files that are generated from the contract, beside its stubs."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def event_schemas() -> dict[str, dict[str, Any]]:
    """The JSON Schema of each message and enum of a stream as proto-JSON, by name. They refer to each other
    as components of an OpenAPI or AsyncAPI document."""
    found: dict[str, dict[str, Any]] = _read("event_schemas.json")
    return found


@cache
def problem_meanings() -> dict[str, str]:
    """What each code of a problem means, as the contract says it."""
    found: dict[str, str] = _read("problem_meanings.json")
    return found


def _read(name: str) -> Any:
    return json.loads(files("ide_orchestrator.v1").joinpath(name).read_text(encoding="utf-8"))
