"""The corpus: calls, and what each gives on every protocol."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

#: Each case names a call, its arguments and what it gives; `as` says with which token, by default the
#: owner's. `portable` cases hold on any hub and change nothing there; `unless` names the setting by which an
#: operator may allow the call.
CASES: list[dict[str, Any]] = json.loads(files(__package__).joinpath("cases.json").read_text("utf-8"))


def put_in(value: Any, known: Mapping[str, str]) -> Any:
    """The value with `$name` replaced by the known value of that name, and `$repeat:TEXT*N` by so many
    texts."""
    if isinstance(value, dict):
        return {key: put_in(each, known) for key, each in value.items()}
    if isinstance(value, list):
        return [put_in(each, known) for each in value]
    if isinstance(value, str) and value.startswith("$repeat:"):
        text, _, times = value.removeprefix("$repeat:").partition("*")
        return text * int(times)
    return known.get(value, value) if isinstance(value, str) else value
