"""docs/reference/security.md names files and tests that exist, and a row without a test says why."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "reference" / "security.md"
ROWS = [line for line in PAGE.read_text().splitlines() if re.match(r"\| (API|\d)", line)]
#: A test as the page names it: its file and its function.
NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_every_test_on_the_page_exists() -> None:
    text = PAGE.read_text()
    named = set(NAMED.findall(text))
    assert len(named) > 80
    assert "`test_" not in text, "a test is named without its file"
    for path, name in sorted(named):
        written = (ROOT / path).read_text()
        assert re.search(rf"^(async )?def {name}\(", written, re.MULTILINE), f"{path}::{name}"


@pytest.mark.parametrize("row", ROWS, ids=[cells(row)[0] for row in ROWS])
def test_a_row_names_what_keeps_it_or_says_that_it_is_not_kept(row: str) -> None:
    _, required, holds, where, shown = cells(row)
    for path in re.findall(r"`([^`]+)`", where):
        assert (ROOT / path).exists() or (ROOT / "server" / path).exists(), path
    assert required, row
    assert (where and NAMED.search(shown)) or holds.startswith("**no**"), row


def test_the_page_has_every_point_of_the_standards() -> None:
    points = [cells(row)[0].split()[0] for row in ROWS if row.startswith("| API")]
    assert list(dict.fromkeys(points)) == [f"API{number}" for number in range(1, 11)]
    named = " ".join(cells(row)[0] for row in ROWS)
    sections = (*(f"3.{number}" for number in range(1, 13)), "4.2", "4.3.2", "4.9", "4.15", "4.16")
    assert all(re.search(rf"(?<![\d.]){re.escape(each)}(?![\d.])", named) for each in sections)
