"""What makes one set of files of another: kinds, renames, figures, marks."""

from __future__ import annotations

import time

import pytest
from hypothesis import given

from server.domain.proposals.files import File
from server.domain.proposals.paths import Portability
from server.domain.review import renames
from server.domain.review.changes import ChangeKind, FileChange, Statistics, diff_files, statistics
from server.domain.review.decisions import apply_decisions
from server.domain.review.unified import hunk_lines, unified_hunks
from tests.unit.domain.review.texts import FILE_SETS


def text_file(*lines: str) -> File:
    return File("".join(f"{line}\n" for line in lines).encode())


def kinds(changes: tuple[FileChange, ...]) -> list[tuple[str, str, str | None]]:
    return [(change.path, change.kind.value, change.old_path) for change in changes]


@given(FILE_SETS, FILE_SETS)
def test_the_changes_are_the_files_that_differ_in_path_order(
    base: dict[str, File], target: dict[str, File]
) -> None:
    changes = diff_files(base, target)
    assert [change.path for change in changes] == sorted(change.path for change in changes)
    came, gone = target.keys() - base.keys(), base.keys() - target.keys()
    by_kind = {kind: {each.path for each in changes if each.kind is kind} for kind in ChangeKind}
    assert by_kind[ChangeKind.ADDED] | by_kind[ChangeKind.RENAMED] == came
    old_paths = {each.old_path for each in changes if each.old_path is not None}
    assert by_kind[ChangeKind.DELETED] | old_paths == gone
    assert by_kind[ChangeKind.MODIFIED] == {
        path for path in base.keys() & target.keys() if base[path].content != target[path].content
    }
    files = apply_decisions(base, changes, {})
    assert {path: file.content for path, file in files.items()} == {p: f.content for p, f in target.items()}


def test_times_and_other_members_are_not_changes() -> None:
    touched = File(b"x", modified_at="2026-11-26", extra={"mode": "1"})
    assert diff_files({"/a": File(b"x")}, {"/a": touched}) == ()


def test_a_deleted_and_an_added_file_with_equal_or_similar_contents_are_a_renamed_one() -> None:
    lines = [f"line {number}" for number in range(20)]
    base = {"/a": text_file(*lines), "/b": text_file("other"), "/c": File(b"\0\1", is_text=False)}
    target = {"/x": text_file(*lines, "more"), "/y": text_file("unlike"), "/z": File(b"\0\1", is_text=False)}
    changes = diff_files(base, target)
    assert kinds(changes) == [
        ("/b", "deleted", None),
        ("/x", "renamed", "/a"),
        ("/y", "added", None),
        ("/z", "renamed", "/c"),
    ]
    assert statistics(changes) == Statistics(1, 0, 1, 2, 2, 1)


def test_of_several_equal_files_the_one_with_the_same_name_is_the_renamed_one() -> None:
    same = File(b"same\n")
    changes = diff_files({"/a/x": same, "/b/y": same}, {"/c/y": same, "/d/z": same})
    assert kinds(changes) == [("/c/y", "renamed", "/b/y"), ("/d/z", "renamed", "/a/x")]


def test_an_empty_file_is_never_a_renamed_one() -> None:
    assert kinds(diff_files({"/a": File(b"")}, {"/b": File(b"")})) == [
        ("/a", "deleted", None),
        ("/b", "added", None),
    ]


def test_above_the_limit_only_equal_files_are_renamed_ones() -> None:
    similar = {f"/a{number}": text_file("x", "y", str(number)) for number in range(300)}
    target = {f"/b{number}": text_file("x", "y", f"+{number}") for number in range(300)}
    assert len(similar) * len(target) > renames.MAX_PAIRS
    assert {each.kind for each in diff_files(similar, target)} == {ChangeKind.ADDED, ChangeKind.DELETED}


@pytest.mark.parametrize(
    "file", [File(b"\xff", is_text=False), File(b"a\0b\n")], ids=["binary", "a text with U+0000"]
)
def test_what_tools_do_not_compare_by_lines_has_no_hunks(file: File) -> None:
    (change,) = diff_files({"/a": File(b"a\n")}, {"/a": file})
    assert (change.kind, change.is_text, change.hunks, change.line_counts) == ("modified", False, (), (0, 0))


def test_a_change_has_the_marks_that_its_path_has_among_the_targets_files() -> None:
    base = {"/README.md": File(b"1"), "/aux": File(b"2")}
    target = {**base, "/readme.md": File(b"3"), "/con.txt": File(b"4"), "/plain": File(b"5")}
    assert {change.path: change.portability for change in diff_files(base, target)} == {
        "/readme.md": (Portability.COLLISION,),
        "/con.txt": (Portability.DEVICE_NAME,),
        "/plain": (),
    }
    (gone,) = diff_files(base, {"/README.md": File(b"1")})
    assert gone.portability == ()


def test_the_unified_text_is_that_of_the_tools() -> None:
    base = text_file(*map(str, range(1, 31)))
    target = File(base.content.replace(b"\n5\n", b"\nfive\n").replace(b"\n9\n", b"\n").removesuffix(b"\n"))
    (change,) = diff_files({"/a": base}, {"/a": target})
    assert b"".join(unified_hunks(change, 2)).decode() == (
        "@@ -3,9 +3,8 @@\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n-9\n 10\n 11\n"
        "@@ -28,3 +27,3 @@\n 28\n 29\n-30\n+30\n\\ No newline at end of file\n"
    )
    assert [hunk_lines(change, index, 2) for index in range(3)] == [
        [b" 3\n", b" 4\n", b"-5\n", b"+five\n", b" 6\n", b" 7\n"],
        [b" 8\n", b"-9\n", b" 10\n", b" 11\n"],
        [b" 28\n", b" 29\n", b"-30\n", b"+30"],
    ]
    assert hunk_lines(change, 0, 0) == [b"-5\n", b"+five\n"]


def test_five_hundred_files_of_two_hundred_lines_take_less_than_a_second() -> None:
    base = {
        f"/src/{number}.md": text_file(*(f"{number} line {line % 150}" for line in range(200)))
        for number in range(500)
    }
    target = {
        path: File(file.content.replace(b" line 7\n", b" other\n").replace(b" line 99\n", b"\n\n"))
        for path, file in base.items()
    }
    began = time.thread_time()
    changes = diff_files(base, target)
    assert statistics(changes) == Statistics(modified=500, added_lines=2000, removed_lines=1500)
    assert time.thread_time() - began < 1


def test_thousands_of_files_that_are_equal_or_all_new_do_not_take_long() -> None:
    base = {f"/a/{number}": File(b"same\n") for number in range(5000)}
    target = {f"/b/{number}": File(b"same\n") for number in range(5000)}
    began = time.thread_time()
    assert {change.kind for change in diff_files(base, target)} == {ChangeKind.RENAMED}
    assert time.thread_time() - began < 2
