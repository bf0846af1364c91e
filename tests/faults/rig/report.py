"""Results of faults, and the one table of a campaign."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.faults.rig.checker import Violation

#: Rules that mean that something was lost, or came twice.
LOST = frozenset({"lost", "hole", "unfinished", "unreported"})
DUPLICATED = frozenset({"duplicated"})
_HEAD = (
    "fault",
    "tried",
    "survived",
    "events checked",
    "lost",
    "duplicated",
    "other",
    "discontinuities",
    "recovery s (p50, max)",
)


@dataclass
class Result:
    """What a fault did. tried, survived: points, or runs. recovery_s: to the next event, per run."""

    fault: str
    tried: int = 0
    survived: int = 0
    units: int = 0
    discontinuities: int = 0
    violations: list[Violation] = field(default_factory=list)
    recovery_s: list[float] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    def add(self, other: Result) -> None:
        """Take in the result of another point."""
        self.tried += other.tried
        self.survived += other.survived
        self.units += other.units
        self.discontinuities += other.discontinuities
        self.violations += other.violations
        self.recovery_s += other.recovery_s
        self.notes.update(other.notes)

    def fail(self, rule: str, detail: str) -> None:
        """Report a violation that does not belong to one run."""
        self.violations.append(Violation(rule, detail, self.fault))


def _facts(result: Result) -> dict[str, Any]:
    """A row: counts by kind of rule, and how long recovery took (p50, max)."""
    rules = [violation.rule for violation in result.violations]
    waits = sorted(result.recovery_s)
    return {
        "fault": result.fault,
        "tried": result.tried,
        "survived": result.survived,
        "events_checked": result.units,
        "lost": sum(rule in LOST for rule in rules),
        "duplicated": sum(rule in DUPLICATED for rule in rules),
        "discontinuities": result.discontinuities,
        "recovery_s": (round(waits[len(waits) // 2], 1), round(waits[-1], 1)) if waits else None,
    }


def as_json(results: Iterable[Result], **more: Any) -> str:
    """All of it, for machines."""
    rows = [
        {
            **_facts(result),
            "violations": [[one.rule, one.run, one.detail] for one in result.violations],
            "notes": {key: value for key, value in result.notes.items() if value != "reached"},
        }
        for result in results
    ]
    return json.dumps({"results": rows, **more}, indent=1)


def as_table(results: Sequence[Result]) -> str:
    """For people: the table, the notes, and what is wrong."""
    rows: list[tuple[str, ...]] = [_HEAD]
    for result in results:
        facts = _facts(result)
        other = len(result.violations) - facts["lost"] - facts["duplicated"]
        cells = [facts[key] for key in ("fault", "tried", "survived")]
        cells += [f"{result.units:,}", facts["lost"], facts["duplicated"], other, result.discontinuities]
        rows.append((*map(str, cells), "{}, {}".format(*facts["recovery_s"]) if facts["recovery_s"] else ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    lines.insert(1, "-" * len(lines[0]))
    for result in results:
        notes = result.notes.items()
        lines += [f"  {key}: {value}" for key, value in notes if value not in ("reached", "not reached")]
        missed = [key for key, value in notes if value == "not reached"]
        if missed:
            lines.append(f"  {result.fault}: not reached by {len(missed)}: {', '.join(missed)}")
    for result in results:
        for violation in result.violations:
            lines.append(f"VIOLATION {result.fault}: {violation.run}: {violation.rule}: {violation.detail}")
    return "\n".join(lines)
