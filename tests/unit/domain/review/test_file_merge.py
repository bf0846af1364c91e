"""Merges of sets of files: added, deleted and renamed on either side, refused, by lines, and resolved."""

from __future__ import annotations

import pytest
from hypothesis import given

from server.domain.proposals.files import File
from server.domain.review.file_merge import ConflictKind, Merge, MergeStrategy, merge_files
from server.domain.review.lines import split_lines
from tests.unit.domain.review.texts import FILE_SETS

REFUSE, THREE_WAY = MergeStrategy.REFUSE, MergeStrategy.THREE_WAY
K = ConflictKind
LINES = "".join(f"line {number}\n" for number in range(20))


def files(**contents: str | bytes | None) -> dict[str, File]:
    """Files by their names without the slash; bytes are not text, None is not there."""
    return {
        f"/{name}": File(content.encode()) if isinstance(content, str) else File(content, is_text=False)
        for name, content in contents.items()
        if content is not None
    }


def contents(merge: Merge) -> dict[str, bytes]:
    return {path: file.content for path, file in merge.files.items()}


def conflicts(merge: Merge) -> list[tuple[str, ConflictKind]]:
    return [(conflict.path, conflict.kind) for conflict in merge.conflicts]


@pytest.mark.parametrize("strategy", MergeStrategy)
@given(FILE_SETS, FILE_SETS)
def test_what_only_one_side_changed_is_taken(
    strategy: MergeStrategy, base: dict[str, File], changed: dict[str, File]
) -> None:
    expected = {path: file.content for path, file in sorted(changed.items())}
    for draft, proposal in ((base, changed), (changed, base), (changed, changed)):
        merge = merge_files(base, draft, proposal, strategy)
        assert (contents(merge), merge.conflicts, merge.merged_paths) == (expected, (), ())


@given(FILE_SETS, FILE_SETS, FILE_SETS)
def test_no_content_of_a_side_is_lost_without_a_conflict(
    base: dict[str, File], draft: dict[str, File], proposal: dict[str, File]
) -> None:
    merge = merge_files(base, draft, proposal, REFUSE)
    assert list(merge.files) == sorted(merge.files)
    if merge.conflicts:
        return
    before = {file.content for file in base.values()}
    for side in (draft, proposal):
        assert {file.content for file in side.values()} - before <= set(contents(merge).values())
    assert set(contents(merge).values()) <= {
        file.content for side in (base, draft, proposal) for file in side.values()
    }


@given(FILE_SETS, FILE_SETS, FILE_SETS)
def test_no_line_that_a_side_brought_in_is_lost_without_a_conflict(
    base: dict[str, File], draft: dict[str, File], proposal: dict[str, File]
) -> None:
    merge = merge_files(base, draft, proposal, THREE_WAY)
    if merge.conflicts:
        return
    before, ours, theirs, result = (
        {line for file in side.values() for line in split_lines(file.content)}
        for side in (base, draft, proposal, merge.files)
    )
    assert (ours | theirs) - before <= result <= before | ours | theirs


@given(FILE_SETS, FILE_SETS, FILE_SETS)
def test_a_refusal_names_every_file_that_a_merge_by_lines_would_have_to_merge(
    base: dict[str, File], draft: dict[str, File], proposal: dict[str, File]
) -> None:
    refused = {conflict.path for conflict in merge_files(base, draft, proposal, REFUSE).conflicts}
    merge = merge_files(base, draft, proposal, THREE_WAY)
    assert {conflict.path for conflict in merge.conflicts} | set(merge.merged_paths) <= refused
    resolved = {conflict.path: File(b"resolved") for conflict in merge.conflicts}
    again = merge_files(base, draft, proposal, THREE_WAY, resolved)
    assert (again.conflicts, again.unused) == ((), ())
    assert all(again.files[path].content == b"resolved" for path in resolved)


def test_texts_are_merged_by_lines_when_asked_for() -> None:
    base, draft, proposal = files(a="1\n2\n3\n"), files(a="one\n2\n3\n"), files(a="1\n2\nthree\n")
    refused = merge_files(base, draft, proposal, REFUSE)
    assert conflicts(refused) == [("/a", K.BOTH_MODIFIED)]
    assert refused.conflicts[0].places == ()
    merged = merge_files(base, draft, proposal, THREE_WAY)
    assert (contents(merged), merged.merged_paths, merged.conflicts) == (
        {"/a": b"one\n2\nthree\n"},
        ("/a",),
        (),
    )


def test_a_conflict_has_the_file_of_each_side_and_its_places() -> None:
    base, draft, proposal = files(a="1\n2\n3\n"), files(a="1\nx\n3\n"), files(a="1\ny\n3\n")
    (conflict,) = merge_files(base, draft, proposal, THREE_WAY).conflicts
    assert (conflict.base, conflict.draft, conflict.proposal) == (base["/a"], draft["/a"], proposal["/a"])
    (place,) = conflict.places
    assert [(each.first, each.text) for each in (place.base, place.draft, place.proposal)] == [
        (1, b"2\n"),
        (1, b"x\n"),
        (1, b"y\n"),
    ]


@pytest.mark.parametrize(
    ("base", "draft", "proposal", "expected", "found"),
    [
        # Deleted on one side, untouched or changed on the other.
        ({"a": "x"}, {}, {"a": "x"}, {}, []),
        ({"a": "x"}, {"a": "x"}, {}, {}, []),
        ({"a": "x"}, {}, {}, {}, []),
        ({"a": "x"}, {}, {"a": "y"}, {}, [("/a", K.DELETED_IN_DRAFT)]),
        ({"a": "x"}, {"a": "y"}, {}, {}, [("/a", K.DELETED_IN_PROPOSAL)]),
        # Added on both sides.
        ({}, {"a": "x"}, {"a": "x"}, {"a": "x"}, []),
        ({}, {"a": "x"}, {"a": "y"}, {}, [("/a", K.BOTH_ADDED)]),
        ({}, {"a": "x"}, {"b": "y"}, {"a": "x", "b": "y"}, []),
        # Not text.
        ({"a": b"1"}, {"a": b"2"}, {"a": b"3"}, {}, [("/a", K.BOTH_MODIFIED)]),
        ({"a": "1\0\n2"}, {"a": "0\0\n2"}, {"a": "1\0\n3"}, {}, [("/a", K.BOTH_MODIFIED)]),
        # Renamed on one side, changed, deleted or renamed on the other.
        ({"a": LINES}, {"b": LINES}, {"a": LINES + "+\n"}, {"b": LINES + "+\n"}, []),
        ({"a": LINES}, {"a": LINES + "+\n"}, {"b": LINES}, {"b": LINES + "+\n"}, []),
        ({"a": LINES}, {"b": "-\n" + LINES}, {"a": LINES + "+\n"}, {"b": f"-\n{LINES}+\n"}, []),
        ({"a": LINES}, {"b": LINES}, {"b": LINES}, {"b": LINES}, []),
        ({"a": LINES}, {"b": LINES}, {"c": LINES}, {}, [("/c", K.BOTH_RENAMED)]),
        ({"a": LINES}, {}, {"b": LINES}, {}, [("/b", K.DELETED_IN_DRAFT)]),
        ({"a": LINES}, {"b": LINES}, {}, {}, [("/b", K.DELETED_IN_PROPOSAL)]),
        # One side's new name is the other side's new file.
        ({"a": LINES}, {"a": LINES, "b": "x"}, {"b": LINES}, {}, [("/b", K.BOTH_ADDED)]),
        ({"a": LINES}, {"b": LINES}, {"a": LINES, "b": "x"}, {}, [("/b", K.BOTH_ADDED)]),
    ],
)
def test_files_come_and_go_on_both_sides(
    base: dict[str, str],
    draft: dict[str, str],
    proposal: dict[str, str],
    expected: dict[str, str],
    found: list[tuple[str, ConflictKind]],
) -> None:
    merge = merge_files(files(**base), files(**draft), files(**proposal), THREE_WAY)
    assert conflicts(merge) == found
    assert contents(merge) == {path: file.content for path, file in files(**expected).items()}


def test_a_resolved_file_settles_its_conflict_and_no_other() -> None:
    base, draft = files(a="1", b="1", c="1"), files(a="2", b="2", c="1")
    proposal = files(a="3", b="3", c="3")
    resolved = {"/a": File(b"4"), "/c": File(b"5")}
    merge = merge_files(base, draft, proposal, THREE_WAY, resolved)
    assert conflicts(merge) == [("/b", K.BOTH_MODIFIED)]
    assert (merge.files["/a"].content, merge.files["/c"].content) == (b"4", b"3")
    assert (merge.merged_paths, merge.unused) == (("/a",), ("/c",))


def test_a_resolution_can_delete_and_settles_renamed_files() -> None:
    base, draft, proposal = files(a=LINES), files(b=LINES), files(c=LINES)
    assert contents(merge_files(base, draft, proposal, REFUSE, {"/c": None})) == {}
    assert contents(merge_files(base, draft, proposal, REFUSE, {"/c": File(b"x")})) == {"/c": b"x"}
    taken = merge_files(files(a=LINES), files(a=LINES, b="x"), files(b=LINES), REFUSE, {"/b": File(b"y")})
    assert (contents(taken), taken.conflicts) == ({"/b": b"y"}, ())
