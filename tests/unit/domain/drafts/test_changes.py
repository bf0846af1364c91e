from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from server.domain.drafts.changes import (
    MAX_DRAFT_BYTES,
    MAX_DRAFT_FILES,
    Changes,
    UpdateDraft,
    restored,
    updated,
)
from server.domain.drafts.draft import DraftFile
from server.domain.errors import Unprocessable

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def a_draft(**texts: str) -> dict[str, DraftFile]:
    return {
        f"/{name}": DraftFile(f"/{name}", sha256(text), len(text.encode()), NOON)
        for name, text in texts.items()
    }


def change(before: dict[str, DraftFile], *gone: str, **texts: str) -> Changes:
    files = {f"/{name}": text for name, text in texts.items()}
    return updated(before, {path: sha256(text) for path, text in files.items()}, UpdateDraft(files, gone))


def test_only_what_differs_is_a_change() -> None:
    changes = change(a_draft(a="1", b="2", c="3"), "/c", a="1", b="two", d="2")
    assert changes.hashes == {"/b": sha256("two"), "/d": sha256("2"), "/c": None}
    assert set(changes.contents.values()) == {b"two", b"2"}
    assert change(a_draft(a="1"), a="1") == Changes({}, {})


def test_a_name_is_free_again_once_the_file_beside_it_is_deleted() -> None:
    assert change(a_draft(a="1"), "/a", A="2").hashes == {"/A": sha256("2"), "/a": None}
    with pytest.raises(Unprocessable):
        change(a_draft(a="1"), A="2")


def test_a_fault_names_the_file_by_its_place_in_the_request() -> None:
    with pytest.raises(Unprocessable) as wrong:
        change(a_draft(a="1"), b="2", **{"a/x": "3"})
    assert wrong.value.fields == {"files": "the path of file 1 is not portable: under_a_file"}


def test_a_draft_has_a_maximum_of_files_and_bytes() -> None:
    full = a_draft(**{f"f{number}": "" for number in range(MAX_DRAFT_FILES)})
    assert change(full, f0="x").hashes
    with pytest.raises(Unprocessable):
        change(full, new="x")
    large = {"/a": DraftFile("/a", sha256(""), MAX_DRAFT_BYTES, NOON)}
    assert change(large, b="").hashes
    with pytest.raises(Unprocessable):
        change(large, b="x")
    assert change(large, a="x").hashes


def test_a_restoration_changes_what_differs_both_ways() -> None:
    changes = restored(a_draft(kept="1", changed="2", new="3"), a_draft(kept="1", changed="1", gone="0"))
    assert changes.hashes == {"/changed": sha256("1"), "/gone": sha256("0"), "/new": None}
    assert changes.contents == {}
