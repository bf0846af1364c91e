"""What a call gave, in a form that is the same for each protocol."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What a call gave: a value, or an error's code with the fields that it names."""

    value: Mapping[str, Any] = field(default_factory=dict)
    code: str | None = None
    fields: frozenset[str] | None = None

    @classmethod
    def of_case(cls, gives: Mapping[str, Any]) -> Outcome:
        """What a case of the corpus says."""
        fields = frozenset(gives["fields"]) if "fields" in gives else None
        return cls(gives.get("value", {}), gives.get("code"), fields)

    def difference(self, other: Outcome, ignored: Collection[str] = ()) -> str:
        """What another outcome lacks of this one, the expected, besides what is ignored; empty when it
        fits."""
        if self.code != other.code:
            return f"code {other.code} with {dict(other.value)}, not {self.code}"
        if self.fields is not None and self.fields != other.fields:
            return f"fields {sorted(other.fields or ())}, not {sorted(self.fields)}"
        wrong = {
            key: other.value.get(key)
            for key, value in self.value.items()
            if other.value.get(key) != value and key not in ignored
        }
        return f"{wrong}, not {dict(self.value)}" if wrong else ""


def file_at(file: Mapping[str, Any]) -> list[Any]:
    """A file as it was after an event, in short."""
    return [file["path"], int(file["size_bytes"]), file["seq"], file.get("tool_call_id") or ""]


def range_of(part: Mapping[str, Any]) -> list[Any]:
    """A range of lines with the event that wrote them."""
    return [part["first_line"], part["line_count"], part["seq"], part.get("tool_call_id") or ""]


def shape_facts(shape: Mapping[str, Any]) -> list[Any]:
    """A shape of frames in quarantine, in short."""
    counts = ("frame_count", "waiting_count", "journalled_count", "superseded_count", "reported_count")
    reason = shape["reason"].removeprefix("UPSTREAM_FRAME_REASON_").lower()
    return [reason, shape["event_type"], shape["structure"], *(int(shape.get(name, 0)) for name in counts)]


def frame_facts(frame: Mapping[str, Any]) -> list[Any]:
    """A frame in quarantine, in short: its seq, whether its run has ended, and what became of it."""
    outcome = (frame.get("outcome") or "").removeprefix("QUARANTINE_OUTCOME_").lower()
    return [frame["seq"], frame.get("run_ended", False), outcome]


def report_facts(report: Mapping[str, Any]) -> list[Any]:
    """What a frame means, in short."""
    meaning = [name for name in ("state", "token") if report.get(name) is not None]
    return [report["seq"], report.get("understood", False), *meaning]
