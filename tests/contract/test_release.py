"""The release task, as far as it can be tried without a release."""

from __future__ import annotations

import filecmp
from pathlib import Path

import pytest

from tools.breaking import ASYNCAPI, OPENAPI, PROTO_IMAGE, REFERENCE, ROOT, breaks_of_grpc
from tools.release import VERSIONS, newest_section, version_in, write_contracts


def test_what_is_released_together_has_one_version() -> None:
    versions = set(map(version_in, VERSIONS))
    assert len(versions) == 1
    assert "" not in versions


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# Changelog\n\n## Unreleased\n\n### Added\n\n## 1.2.0\n\n## 1.1.0\n", "1.2.0"),
        ("# Changelog\n\n## 1.2.0\n", "1.2.0"),
        ("# Changelog\n\n## Unreleased\n", ""),
    ],
)
def test_the_newest_version_of_the_changelog_is_found(text: str, title: str) -> None:
    assert newest_section(text) == title


def test_the_changelog_has_a_section_of_the_version() -> None:
    assert f"\n## {version_in('pyproject.toml')}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_the_contracts_of_a_release_are_those_of_the_tree(tmp_path: Path) -> None:
    write_contracts(tmp_path)
    assert breaks_of_grpc(str(tmp_path / PROTO_IMAGE)) == ""
    for name in (OPENAPI, ASYNCAPI):
        assert filecmp.cmp(tmp_path / name, REFERENCE / name, shallow=False)


def test_the_license_is_in_the_project() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text()
