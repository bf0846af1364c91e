"""Pages of comparisons: each file once, whatever its path, and each decision at the file that it is about."""

from __future__ import annotations

import pytest

from server.domain.errors import InvalidArgument
from server.domain.proposals.files import File
from server.domain.proposals.partition import MAX_SHOWN_CHARS, RejectedFile
from server.domain.review.changes import diff_files
from server.domain.review.comparison import Comparison
from server.domain.review.decisions import Decision, FileDecision
from server.wire.diff_queries import DiffQuery
from server.wire.diffs import FileDiff, diff_page

LONG = "/" + MAX_SHOWN_CHARS * "x"


def pages(comparison: Comparison, limit: int) -> list[FileDiff]:
    """The files of all pages of so many."""
    found: list[FileDiff] = []
    cursor = None
    while True:
        page = diff_page(comparison, DiffQuery.model_validate({"limit": limit, "cursor": cursor}))
        assert 0 < len(page.items) <= limit
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found


def rejected(*paths: str) -> tuple[RejectedFile, ...]:
    return tuple(
        RejectedFile(path, "too_long", f"{number:064x}", 1) for number, path in enumerate(sorted(paths))
    )


@pytest.mark.parametrize("limit", [1, 2, 3, 200])
def test_files_that_are_shown_with_one_path_are_all_on_some_page(limit: int) -> None:
    twins = rejected("/s\ud800", "/s\ud801", "/s\ud802", LONG + "1", LONG + "2", "/s\ufffd", "/z")
    changes = diff_files({}, {"/s\ufffd": File(b"kept"), "/a": File(b"1"), "/z": File(b"2")})
    found = pages(Comparison("etag", changes, rejected=twins), limit)
    assert sorted(file.sha256 for file in found if file.rejection) == [each.sha256 for each in twins]
    assert [file.path for file in found if not file.rejection] == ["/a", "/s\ufffd", "/z"]
    assert [file.path for file in found] == sorted(file.path for file in found)


def test_a_decision_is_shown_at_the_file_that_is_kept_and_not_at_the_rejected_one_of_its_path() -> None:
    changes = diff_files({}, {"/a": File(b"1")})
    decisions = {path: FileDecision(Decision.REJECTED) for path in ("/a", "/b")}
    page = diff_page(
        Comparison("etag", changes, rejected=rejected("/a", "/b"), decisions=decisions),
        DiffQuery.model_validate({}),
    )
    found = [(file.path, bool(file.rejection), file.decision) for file in page.items]
    assert found == [
        ("/a", False, Decision.REJECTED),
        ("/a", True, None),
        ("/b", True, Decision.REJECTED),
    ]


@pytest.mark.parametrize("cursor", ["", "x", "cw", "c3", "cwAA", "cwAAAAD_", "Zv8", "é", "====", 9000 * "Z"])
def test_a_cursor_that_no_page_gave_is_refused_or_a_place_in_the_order(cursor: str) -> None:
    comparison = Comparison("etag", diff_files({}, {"/a": File(b"1")}))
    refused: list[str] = []
    try:
        page = diff_page(comparison, DiffQuery.model_validate({"cursor": cursor}))
    except InvalidArgument as wrong:
        refused = [*wrong.fields]
    else:
        assert page.next_cursor is None
    assert refused in ([], ["cursor"])
