"""docs/reference/settings.md: what an operator reads is what the hub reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from server.settings.names import RENAMED
from server.settings.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "settings.md").read_text()


@pytest.mark.parametrize("field", Settings.model_fields.values(), ids=lambda field: field.alias)
def test_every_setting_says_what_it_means(field: FieldInfo) -> None:
    assert field.description
    assert f"| `{field.alias}` |" in PAGE


def test_the_page_names_every_setting_and_no_other() -> None:
    first, _, rest = PAGE.partition("## Commands that talk to a running hub")
    assert re.findall(r"^\| `(\w+)`", first, re.MULTILINE) == [
        field.alias for field in Settings.model_fields.values()
    ]
    assert dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|$", rest, re.MULTILINE)) == RENAMED
