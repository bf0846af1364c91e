"""Names in a folder, and what an archive says about them."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from server.domain.proposals.archive import MAX_COMMENT_BYTES, ArchivedFiles, archive_comment
from server.domain.proposals.folder import folder_names

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PATHS = st.lists(st.text(alphabet="a/", max_size=6), unique=True, max_size=8)


@given(PATHS)
def test_every_path_has_a_name_of_its_own_or_is_lost(paths: list[str]) -> None:
    names, lost = folder_names(paths)
    assert sorted([*names, *lost]) == sorted(paths)
    assert len(set(names.values())) == len(names)
    for name in names.values():
        assert name
        assert "" not in name.split("/")
        assert not any(other.startswith(f"{name}/") for other in names.values())


def test_a_comment_is_ascii_on_one_line_for_each_file() -> None:
    marked = {"/\u202egpj.\x1b[2J": ("deceptive_character",)}
    assert archive_comment(marked, []) == (
        rb"'/\u202egpj.\x1b[2J': not for every system (deceptive_character)"
    )


def test_a_comment_says_how_many_files_it_has_no_room_for() -> None:
    marks = {f"/{number:0100}": ("collision",) for number in range(1000)}
    comment = archive_comment(marks, [])
    assert MAX_COMMENT_BYTES - 200 < len(comment) <= MAX_COMMENT_BYTES
    lines = comment.decode().splitlines()
    assert lines[-1] == f"and {1000 - len(lines) + 1} more files"


def test_an_archive_counts_the_names_that_it_keeps_until_its_end() -> None:
    few = ArchivedFiles(UUID(int=1), {"/a": "0" * 64}, NOON, {})
    hashes = {f"/{'folder/' * 90}{number}": "0" * 64 for number in range(100)}
    tracemalloc.start()
    try:
        archive = zipfile.ZipFile(io.BytesIO(), "w")
        names, _ = folder_names(dict(hashes))
        for name in names.values():
            archive.writestr(zipfile.ZipInfo(name), b"")
        archive.close()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert few.size_bytes < 2_000
    assert held / 2 < ArchivedFiles(UUID(int=1), hashes, NOON, {}).size_bytes < 8 * held


def test_names_of_many_deep_folders_take_little_memory() -> None:
    paths = [f"/{number}/" + "/".join(f"{number}" + "f" * 4 for _ in range(98)) for number in range(2_000)]
    tracemalloc.start()
    try:
        names, lost = folder_names(paths)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(names), lost) == (len(paths), [])
    assert peak < 6 * sum(map(len, paths))
