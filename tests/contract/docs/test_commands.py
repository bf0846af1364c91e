"""The commands of pages can be pasted, and pasted again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.pages import code_blocks

ROOT = Path(__file__).parents[3]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "clients").glob("*/README.md"))
)
#: What `ideo dev` prints to be pasted, and what each shell has.
KNOWN = {"IDEO_URL", "IDEO_TOKEN", "PATH", "PWD", "HOME"}


@pytest.mark.parametrize("page", PAGES)
def test_a_variable_of_a_command_is_set_on_its_page_or_explained_there(page: str) -> None:
    commands = "\n".join(code_blocks(page, "sh"))
    prose = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(), flags=re.M | re.S)
    used = set(re.findall(r"\$\{?([A-Z][A-Z_0-9]*)", commands))
    assigned = set(re.findall(r"(?:^|[\s;(])([A-Z][A-Z_0-9]*)=", commands, re.M))
    explained = set(re.findall(r"`\$?([A-Z][A-Z_0-9]*)`", prose))
    assert used - assigned - explained - KNOWN == set()


@pytest.mark.parametrize("page", PAGES)
def test_an_idempotency_key_names_what_it_is_for(page: str) -> None:
    """One that is fixed works once."""
    fixed = r'Idempotency-Key: [^"\'$]*["\']|request_?[iI]d\s*[=:]\s*["\']'
    assert re.findall(fixed, (ROOT / page).read_text()) == []
