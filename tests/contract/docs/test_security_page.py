"""docs/reference/security.md names files and tests that exist, and a row without a test says why."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "reference" / "security.md"
ROWS = [line for line in PAGE.read_text().splitlines() if re.match(r"\| (API|\d)", line)]


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_every_test_on_the_page_exists() -> None:
    written = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text()))
    assert len(named) > 30
    assert named <= written, sorted(named - written)


@pytest.mark.parametrize("row", ROWS, ids=[cells(row)[0] for row in ROWS])
def test_a_row_names_what_keeps_it_or_says_that_it_is_not_kept(row: str) -> None:
    _, holds, where, shown = cells(row)
    for path in re.findall(r"`([^`]+)`", where):
        assert (ROOT / path).exists() or (ROOT / "server" / path).exists(), path
    assert (where and shown) or holds.startswith("**no**"), row


def test_the_page_has_every_point_of_the_standards() -> None:
    assert [cells(row)[0].split()[0] for row in ROWS if row.startswith("| API")] == [
        f"API{number}" for number in range(1, 11)
    ]
    named = " ".join(cells(row)[0] for row in ROWS)
    sections = (*(f"3.{number}" for number in range(1, 13)), "4.2", "4.3.2", "4.9", "4.15", "4.16")
    assert all(re.search(rf"(?<![\d.]){re.escape(each)}(?![\d.])", named) for each in sections)
