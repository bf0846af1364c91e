"""Which files of a run are a proposal's, and which it rejects: none is lost."""

from __future__ import annotations

import hashlib
import json

import pytest

from server.domain.proposals import partition
from server.domain.proposals.files import File, FileSet
from server.domain.proposals.partition import ProposalFiles, partition_files


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def reasons(found: ProposalFiles) -> list[tuple[str, str]]:
    """The rejected paths with their reasons."""
    return [(each.path, each.reason) for each in found.rejected]


def test_files_that_only_collide_are_all_kept_and_marked() -> None:
    found = partition_files(FileSet({path: File(b"x") for path in ("/b", "/a", "/A", "/a/c", "d")}))
    assert list(found.kept) == ["/A", "/a", "/a/c", "/b", "d"]
    assert found.portability == {
        "/A": ("collision", "above_a_file"),
        "/a": ("collision", "above_a_file"),
        "/a/c": ("under_a_file",),
    }
    assert found.rejected == ()


def test_a_rejected_file_marks_no_other_and_has_its_hash_size_and_content() -> None:
    found = partition_files(FileSet({"/../a": File(b"evil"), "/a": File(b"good"), "/.git/a": File(b"good")}))
    assert (list(found.kept), found.portability) == (["/a"], {})
    assert [(each.path, each.reason, each.sha256, each.size_bytes) for each in found.rejected] == [
        ("/../a", "dot_segment", sha256(b"evil"), 4),
        ("/.git/a", "repository_folder", sha256(b"good"), 4),
    ]
    assert found.contents == {sha256(b"evil"): b"evil", sha256(b"good"): b"good"}


def test_what_cannot_be_read_is_rejected_with_its_json_text_beside_the_version_before_it() -> None:
    text = b'{"content": 7}'
    found = partition_files(FileSet({"/a": File(b"1")}, True, {"/a": text, "/0": b"17"}))
    assert list(found.kept) == ["/a"]
    assert [(each.path, each.reason, each.sha256, each.size_bytes) for each in found.rejected] == [
        ("/0", "unreadable", sha256(b"17"), 2),
        ("/a", "unreadable", sha256(text), len(text)),
    ]
    assert found.contents[sha256(text)] == text


def test_files_beyond_the_limits_are_rejected_and_smaller_ones_after_them_kept() -> None:
    found = partition_files(FileSet(dict.fromkeys(("/a", "/b", "/c"), File(b"x"))), max_files=2)
    assert (list(found.kept), reasons(found)) == (["/a", "/b"], [("/c", "too_many_files")])
    files = {"/a": File(b"1234"), "/b": File(b"123456789"), "/c": File(b"1")}
    found = partition_files(FileSet(files), max_bytes=6)
    assert (list(found.kept), reasons(found)) == (["/a", "/c"], [("/b", "too_large")])
    assert found.contents[sha256(b"123456789")] == b"123456789"


@pytest.mark.parametrize("more", [0, 1, 2])
def test_rejected_files_beyond_their_limit_are_one_entry_with_all_their_contents(more: int) -> None:
    count = partition.MAX_REJECTED + more
    files = {f"/../{number:06}": File(b"%d\n" % number) for number in range(count)}
    found = partition_files(FileSet(files, True, {"/~": b"[1]"} if more else {}))
    assert len(found.rejected) == partition.MAX_REJECTED + bool(more)
    if more:
        rest = found.rejected[-1]
        assert (rest.path, rest.reason) == ("", "too_many_files")
        assert rest.sha256 is not None
        held = json.loads(found.contents[rest.sha256])
        assert held == {
            **{path: {"content": [path[4:].lstrip("0"), ""]} for path in sorted(files)[-more:]},
            "/~": [1],
        }


def test_no_files_are_no_files() -> None:
    assert partition_files(FileSet()) == ProposalFiles()
