"""Regular expressions that every supported version of Python reads alike."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: A bracket of a pattern, as it stands in a line of source; others are escaped, or in a class of characters.
_BRACKET = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\((?:\?[:>!=])?|\)(?:[*+?]\+)?")


def _possessive_groups(line: str) -> Iterator[str]:
    """How the groups of a line begin that repeat possessively."""
    openings: list[str] = []
    for bracket in _BRACKET.findall(line):
        if bracket.startswith("("):
            openings.append(bracket)
        elif bracket.startswith(")") and openings:
            opening = openings.pop()
            if len(bracket) > 1:
                yield opening


def _lines() -> Iterator[tuple[str, str]]:
    for folder in ("server", "clients/python"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for number, line in enumerate(path.read_text().splitlines(), start=1):
                if "(?" in line and re.search(r"\)[*+?]\+", line):
                    yield f"{path.relative_to(ROOT)}:{number}", line


@pytest.mark.parametrize(
    ("line", "openings"),
    [(r"'(?:\\.|[^')]*+)*+'", ["(?:"]), (r"(?>a(?:b)*)++(c)?+", ["(?>", "("]), (r"[(]*+\(*+(?:a)*", [])],
)
def test_the_groups_that_repeat_possessively_are_found(line: str, openings: list[str]) -> None:
    assert list(_possessive_groups(line)) == openings


def test_a_group_that_repeats_possessively_is_atomic() -> None:
    """Before 3.11.5, Python lets `(?:a|b)*+` also take what the last attempt at the group read before it
    failed. `(?>a|b)*+`, which means the same, it reads rightly. Debian 12 has 3.11.2."""
    lines = dict(_lines())
    assert lines
    assert {place: line for place, line in lines.items() if {*_possessive_groups(line)} - {"(?>"}} == {}
