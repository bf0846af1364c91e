"""Names in a folder, and what an archive says about them."""

from __future__ import annotations

import hashlib
import io
import tracemalloc
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from server.domain.errors import NotFound
from server.domain.model import Principal
from server.domain.proposals.archive import (
    MAX_COMMENT_BYTES,
    ArchivedFiles,
    archive_comment,
    archive_pieces,
)
from server.domain.proposals.contents import (
    CONTENTS_TOGETHER,
    SMALL_CONTENT_BYTES,
    ArchivedStore,
    ContentPiece,
)
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


class Contents(ArchivedStore):
    """Contents in memory. reads: those that were read alone; reads_together: how many in each other read;
    right_ends_after: reads after which the principal may see nothing."""

    def __init__(self, contents: Sequence[bytes], *, right_ends_after: int = 1 << 30) -> None:
        self.by_hash = {hashlib.sha256(content).hexdigest(): content for content in contents}
        self.reads: list[bytes] = []
        self.reads_together: list[int] = []
        self._reads_left = right_ends_after

    @override
    async def read_content(
        self, principal: Principal, holder_id: UUID, sha256: str, /, *, offset: int, max_bytes: int
    ) -> ContentPiece:
        if self._reads_left <= 0:
            raise NotFound("no such file")
        content = self.by_hash[sha256]
        self.reads.append(content)
        return ContentPiece(content[offset : offset + max_bytes], offset, len(content))

    @override
    async def read_small(
        self, principal: Principal, holder_id: UUID, hashes: Sequence[str], /
    ) -> Mapping[str, bytes]:
        self._reads_left -= 1
        if self._reads_left < 0:
            return {}
        self.reads_together.append(len(hashes))
        found = {sha256: self.by_hash[sha256] for sha256 in hashes}
        return {sha256: each for sha256, each in found.items() if len(each) <= SMALL_CONTENT_BYTES}


async def archived(store: Contents) -> dict[str, bytes]:
    """The contents of an archive of all that the store has, by name."""
    files = ArchivedFiles(
        UUID(int=1), {f"/{number:04}": sha256 for number, sha256 in enumerate(store.by_hash)}, NOON, {}
    )
    ann = Principal(UUID(int=2), "ann")
    archive = b"".join([piece async for piece in archive_pieces(store, ann, files)])
    with zipfile.ZipFile(io.BytesIO(archive)) as found:
        return {name: found.read(name) for name in found.namelist()}


async def test_small_contents_of_an_archive_are_read_together_and_others_in_pieces() -> None:
    large = b"x" * (SMALL_CONTENT_BYTES + 1)
    contents = [large, *(str(number).encode() for number in range(CONTENTS_TOGETHER + 9))]
    store = Contents(contents)
    assert [*(await archived(store)).values()] == contents
    assert (store.reads, store.reads_together) == ([large], [CONTENTS_TOGETHER, 10])


async def test_an_archive_fails_when_the_right_to_read_ends_while_it_is_made() -> None:
    with pytest.raises(NotFound):
        await archived(Contents([str(number).encode() for number in range(100)], right_ends_after=1))
