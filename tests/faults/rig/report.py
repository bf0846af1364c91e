"""The one table of a campaign."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from tests.faults.rig.environment import Result

#: Rules that mean that something was lost, or was told twice.
LOST = frozenset({"lost", "hole", "unfinished"})
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


def _count(result: Result, rules: frozenset[str]) -> int:
    return sum(violation.rule in rules for violation in result.violations)


def _recovery(result: Result) -> tuple[float, float] | None:
    found = sorted(result.recovery_s)
    return (round(found[len(found) // 2], 1), round(found[-1], 1)) if found else None


def as_json(results: Iterable[Result], **more: Any) -> str:
    """All of it, for machines."""
    rows = [
        {
            "fault": result.fault,
            "tried": result.tried,
            "survived": result.survived,
            "events_checked": result.units,
            "lost": _count(result, LOST),
            "duplicated": _count(result, DUPLICATED),
            "discontinuities": result.discontinuities,
            "recovery_s": _recovery(result),
            "violations": [[one.rule, one.run, one.detail] for one in result.violations],
            "notes": {key: value for key, value in result.notes.items() if value != "reached"},
        }
        for result in results
    ]
    return json.dumps({"results": rows, **more}, indent=1)


def as_table(results: Sequence[Result]) -> str:
    """For people: the table, the notes, and what is wrong."""
    rows = [_HEAD]
    for result in results:
        lost, duplicated = _count(result, LOST), _count(result, DUPLICATED)
        recovery = _recovery(result)
        rows.append(
            (
                result.fault,
                str(result.tried),
                str(result.survived),
                f"{result.units:,}",
                str(lost),
                str(duplicated),
                str(len(result.violations) - lost - duplicated),
                str(result.discontinuities),
                f"{recovery[0]}, {recovery[1]}" if recovery else "",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    lines.insert(1, "-" * len(lines[0]))
    for result in results:
        for key, value in result.notes.items():
            if value not in ("reached", "not reached"):
                lines.append(f"  {key}: {value}")
        missed = [key for key, value in result.notes.items() if value == "not reached"]
        if missed:
            lines.append(f"  {result.fault}: not reached by {len(missed)}: {', '.join(missed)}")
    for result in results:
        for violation in result.violations:
            lines.append(f"VIOLATION {result.fault}: {violation.run}: {violation.rule}: {violation.detail}")
    return "\n".join(lines)
