"""Figures and how they are printed: a median with its range, and plain tables."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import sub, truediv
from typing import Any


class NoFigure(Exception):
    """A figure cannot be given; the text says why."""


@dataclass(frozen=True, slots=True)
class Stats:
    """A figure taken several times."""

    median: float
    minimum: float
    maximum: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Stats:
        """The figures of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        if self.minimum == self.maximum:
            return _short(self.median)
        return f"{_short(self.median)} ({_short(self.minimum)}–{_short(self.maximum)})"

    def json(self) -> dict[str, float]:
        """The figure as JSON."""
        return {"median": self.median, "min": self.minimum, "max": self.maximum}


def _short(value: float) -> str:
    """Three significant digits."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def ratios(samples: Mapping[str, Sequence[float]], name: str, to: str) -> Stats | str:
    """One's figures by another's of the same round; a dash when the other was not measured."""
    return _compared(samples, name, to, truediv)


def differences(samples: Mapping[str, Sequence[float]], name: str, to: str) -> Stats | str:
    """The same less another's."""
    return _compared(samples, name, to, sub)


def _compared(
    samples: Mapping[str, Sequence[float]], name: str, to: str, compare: Callable[[float, float], float]
) -> Stats | str:
    if to not in samples:
        return "-"
    return Stats.of([compare(one, other) for one, other in zip(samples[name], samples[to], strict=True)])


@dataclass(frozen=True, slots=True)
class Table:
    """A title, column heads, and rows of as many cells. note: what one must know to read it."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str | Stats]]
    note: str = ""

    def __str__(self) -> str:
        return "\n\n".join(part for part in (self.title, self.grid(), self.note) if part)

    def grid(self) -> str:
        """The table alone, as Markdown."""
        lines = [list(self.heads), *([str(cell) for cell in row] for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.heads))]
        first, *rest = (
            "| "
            + " | ".join(
                cell.ljust(width) if not column else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            + " |"
            for line in lines
        )
        rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        return "\n".join([first, rule, *rest])

    def json(self) -> dict[str, Any]:
        """The table as JSON; a figure with its range is an object."""
        rows = [[cell.json() if isinstance(cell, Stats) else cell for cell in row] for row in self.rows]
        return {"title": self.title, "columns": list(self.heads), "rows": rows}
