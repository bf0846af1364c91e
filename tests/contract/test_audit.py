"""The audit is never taken for one that was done when it was not."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tools.audit import NOT_DONE, verdict

ROOT = Path(__file__).resolve().parents[2]
ADVISORY = {"id": "PYSEC-0000-1", "fix_versions": ["2"]}
CANARY = [{"name": "pip", "version": "23.2.1", "vulns": [ADVISORY]}]
GOOD = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "1", "vulns": [ADVISORY]}
SKIPPED = {"name": "c", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "canary", "code"),
    [
        ([GOOD], CANARY, 0),
        ([GOOD, BAD], CANARY, 1),
        ([GOOD, SKIPPED], CANARY, 1),
        ([], CANARY, 1),
        ([GOOD], [], NOT_DONE),
        ([GOOD], [{**CANARY[0], "vulns": []}], NOT_DONE),
        ([GOOD], [SKIPPED], NOT_DONE),
        ([], [], NOT_DONE),
    ],
)
def test_only_a_whole_look_at_an_index_with_advisories_passes(
    packages: list[Any], canary: list[Any], code: int
) -> None:
    found, lines = verdict(packages, canary)
    assert found == code
    assert (code == NOT_DONE) == lines[-1].startswith("AUDIT NOT DONE")


@pytest.mark.parametrize(
    ("audit", "required", "code", "tested"),
    [(0, "", 0, True), (1, "", 1, False), (2, "", 2, False), (3, "", 0, True), (3, "required", 3, False)],
)
def test_ci_goes_on_only_where_there_are_no_advisories_and_says_so_last(
    audit: int, required: str, code: int, *, tested: bool
) -> None:
    script = (ROOT / ".ci" / "run").read_text()
    part = script[script.index("audit=0\n") :].replace(".venv/bin/python tools/audit.py", f"(exit {audit})")
    part = re.sub(r"^make .* test$", "echo tested", part, flags=re.MULTILINE)
    part = re.sub(r"^poe .* examples-short$", "echo tried", part, flags=re.MULTILINE)
    done = subprocess.run(
        ["bash", "-c", f"set -euo pipefail; python=x; {part}"],
        env={"PATH": "/usr/bin:/bin", "IDEO_CI_ADVISORIES": required},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert ("tested" in done.stdout) == tested
    assert ("AUDIT NOT DONE" in done.stdout) == (tested and audit == NOT_DONE)
