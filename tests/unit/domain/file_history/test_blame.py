"""Blame: each line is of a change that has it, and of the one that brought it."""

from __future__ import annotations

import pickle
from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from server.domain.file_history.blame import LineBlame
from server.domain.file_history.versions import FileVersions, Tree
from server.domain.journal.file_index import IndexedChange
from server.domain.review.hunks import differing_ranges
from server.domain.review.lines import count_lines, split_lines
from tests.unit.domain.review.texts import TEXTS, edited, random_text


def change(seq: int, path: str = "/a", sha256: str = "", call: str = "") -> IndexedChange:
    return IndexedChange(seq, None, path, sha256, 1, True, call)


def blamed(texts: list[bytes], first_line: int = 0, versions: int | None = None) -> list[int]:
    """The index of the version of each line of the last text, found by going back that many versions."""
    changes = [change(index + 1) for index in range(len(texts))]
    blame = LineBlame(first_line, count_lines(texts[-1]) - first_line)
    oldest = 0 if versions is None else len(texts) - 1 - versions
    for index in range(len(texts) - 1, oldest, -1):
        blame.go_back(changes[index], texts[index], texts[index - 1])
    blame.stop(changes[oldest])
    assert blame.complete
    found: list[int] = []
    ranges = blame.ranges()
    for part in ranges:
        assert part.first_line == first_line + len(found)
        assert part.line_count > 0
        found += [part.change.seq - 1] * part.line_count
    assert all(one.change is not other.change for one, other in pairwise(ranges))
    return found


def carried(texts: list[bytes]) -> list[int]:
    """The same, carried on from the first version to the last."""
    owners: list[int] = []
    before = b""
    for index, text in enumerate(texts):
        carried_on: list[int] = []
        at = 0
        for place in differing_ranges(before, text):
            carried_on += owners[at : place.base_line] + [index] * place.line_count
            at = place.base_line + place.base_line_count
        owners = carried_on + owners[at:]
        before = text
    return owners


@given(st.lists(TEXTS, min_size=2, max_size=6), st.integers(0, 6))
def test_what_is_known_so_far_may_go_to_another_process(texts: list[bytes], moves: int) -> None:
    changes = [change(index + 1) for index in range(len(texts))]
    here, there = (LineBlame(0, count_lines(texts[-1])) for _ in range(2))
    for index in range(len(texts) - 1, 0, -1):
        for blame in (here, there):
            blame.go_back(changes[index], texts[index], texts[index - 1])
        if index % 7 != moves:
            there = pickle.loads(pickle.dumps(there))
        assert there.complete == here.complete
    for blame in (here, there):
        blame.stop(changes[0])
    assert there.ranges() == here.ranges()


@given(st.lists(TEXTS, min_size=1, max_size=6))
def test_each_line_is_of_a_version_that_has_it_and_is_as_old_as_can_be(texts: list[bytes]) -> None:
    owners = blamed(texts)
    lines = split_lines(texts[-1])
    assert len(owners) == len(lines)
    for line, owner in zip(lines, owners, strict=True):
        assert all(line in split_lines(text) for text in texts[owner:])
    assert owners == carried(texts)


@given(st.lists(TEXTS, min_size=1, max_size=5), st.data())
def test_some_of_the_lines_are_of_the_same_versions_as_in_the_whole(
    texts: list[bytes], data: st.DataObject
) -> None:
    count = count_lines(texts[-1])
    first = data.draw(st.integers(0, max(count - 1, 0)))
    assert blamed(texts, first) == blamed(texts)[first:]


@given(st.lists(TEXTS, min_size=2, max_size=6), st.data())
def test_what_is_older_than_the_oldest_version_looked_at_is_of_that_one(
    texts: list[bytes], data: st.DataObject
) -> None:
    back = data.draw(st.integers(0, len(texts) - 1))
    oldest = len(texts) - 1 - back
    assert blamed(texts, versions=back) == [max(owner, oldest) for owner in blamed(texts)]


def test_many_edits_of_a_long_text_are_followed() -> None:
    random = Random(7)
    texts = [random_text(random, 3_000, 10_000)]
    for _ in range(60):
        texts.append(edited(random, texts[-1], 5))
    assert blamed(texts) == carried(texts)


def test_the_versions_of_a_file_begin_where_it_was_made_again() -> None:
    history = FileVersions("/a")
    made = [
        change(2, sha256="1"),
        change(3),
        change(5, sha256="1"),
        change(6, "/b", "2"),
        change(7, sha256="3"),
    ]
    for each in made:
        history.take(each)
    assert [each.seq for each in history.newest_first(0)] == [7, 5]
    history.take(change(8))
    assert history.newest_first(0) == []


def test_a_change_of_times_alone_is_no_version() -> None:
    history = FileVersions("/a")
    for each in (change(2, sha256="1"), change(3, sha256="1"), change(4, sha256="2"), change(5, sha256="1")):
        history.take(each)
    assert [each.seq for each in history.newest_first(0)] == [5, 4, 2]


def test_of_the_versions_before_a_link_begins_only_the_last_is_seen() -> None:
    history = FileVersions("/a")
    for seq in (2, 3, 4, 5):
        history.take(change(seq, sha256=str(seq)))
    assert [each.seq for each in history.newest_first(3)] == [5, 4, 3]
    assert [each.seq for each in history.newest_first(9)] == [5]


def test_a_path_that_callers_cannot_name_is_found_as_they_see_it() -> None:
    history, tree = FileVersions("/\ufffd"), Tree("/\ufffd")
    for each in (change(2, "/\ud800", "1"), change(3, "/\ufffd", "2"), change(4, "/\ud800", "3")):
        history.take(each)
        tree.take(each)
    assert [each.seq for each in history.newest_first(0)] == [3]
    assert [file.seq for file in tree.page(0, 10, 1000)[0]] == [4, 3]


def test_a_page_of_files_ends_before_its_bytes_are_used_up() -> None:
    tree = Tree()
    for number in range(10):
        tree.take(change(number + 1, f"/{number}" + "x" * 998, "1"))
    page, more = tree.page(2, 100, 4_000)
    assert ([file.seq for file in page], more) == ([3, 4, 5], True)
    assert [len(part[0]) for part in (tree.page(0, 1, 1), tree.page(9, 5, 1), tree.page(10, 5, 1))] == [
        1,
        1,
        0,
    ]
    assert tree.page(9, 5, 1)[1] is False
