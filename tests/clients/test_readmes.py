"""The READMEs of the clients, which package indexes show without this tree around them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READMES = sorted((ROOT / "clients").glob("*/README.md"))
HERE = "https://github.com/bizmatters/ide-orchestrator/blob/main/"


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.parent.name)
def test_links_are_addresses_and_those_into_this_tree_lead_to_files(readme: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", readme.read_text(), flags=re.M | re.S)
    links = re.findall(r"\]\(([^)\s]+)", text)
    assert any(link.startswith(HERE) for link in links)
    for link in links:
        assert link.startswith("https://"), f"{link} leads nowhere from a package index"
        if link.startswith(HERE):
            assert (ROOT / link.removeprefix(HERE).partition("#")[0]).is_file(), link


def test_each_client_has_one() -> None:
    assert [path.parent.name for path in READMES] == ["go", "python", "typescript"]
