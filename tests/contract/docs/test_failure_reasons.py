"""docs/reference/http.md lists the failure reasons that exist."""

from __future__ import annotations

import re
from pathlib import Path

from server.domain.model import FailureReason

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "http.md"


def test_the_page_lists_every_failure_reason_once() -> None:
    section = PAGE.read_text().partition("## Failure reasons")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == sorted(FailureReason)
