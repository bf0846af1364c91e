"""Which lines correspond: always in order and equal, the most of them, and with bounded work."""

from __future__ import annotations

import time
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import LCSseq

from server.domain.review.matching import Block, differing_blocks, match_lines

_LINES = st.lists(st.integers(0, 4), max_size=14)


def longest_common(one: list[int], other: list[int]) -> int:
    """The length of the longest common subsequence, by the book."""
    before = [0] * (len(other) + 1)
    for line in one:
        row = [0]
        for index, candidate in enumerate(other):
            row.append(before[index] + 1 if line == candidate else max(before[index + 1], row[-1]))
        before = row
    return before[-1]


def assert_matched(base: list[int], target: list[int], partners: list[int]) -> None:
    """Matched lines are equal, and in the same order on both sides."""
    pairs = [(index, partner) for index, partner in enumerate(partners) if partner >= 0]
    assert all(base[index] == target[partner] for index, partner in pairs)
    assert [partner for _, partner in pairs] == sorted({partner for _, partner in pairs})


@given(_LINES, _LINES)
def test_as_many_lines_as_possible_are_matched(base: list[int], target: list[int]) -> None:
    partners = match_lines(base, target)
    assert_matched(base, target, partners)
    assert sum(partner >= 0 for partner in partners) == longest_common(base, target)


@pytest.mark.parametrize("kinds", [1, 2, 5, 300, 20_000])
def test_what_is_too_large_for_one_comparison_is_matched_correctly_too(kinds: int) -> None:
    random = Random(1)
    base, target = ([random.randrange(kinds) for _ in range(size)] for size in (9_000, 8_000))
    partners = match_lines(base, target)
    assert_matched(base, target, partners)
    # Some of what could be matched is lost at the ends of windows.
    assert sum(partner >= 0 for partner in partners) >= 0.95 * LCSseq.similarity(base, target)


def test_lines_that_both_sides_have_once_hold_a_text_together_however_much_comes_between() -> None:
    # Far more than one comparison or window has, of lines that occur everywhere.
    filler = [0, 1, 2] * 7_000
    base = [10, 0, 1, 11, 2, 12, 1, 13] + [2, 1, 0] * 2_000 + [14]
    target = (
        [10, *filler, 0, 1, 11, *filler[1:], 2, 12, *filler[2:], 1, 13] + [2, 1, 0] * 2_000 + [*filler, 14]
    )
    partners = match_lines(base, target)
    assert_matched(base, target, partners)
    assert -1 not in partners


def test_blocks_have_equal_lines_between_them() -> None:
    base, target = [b"a", b"b", b"c", b"d"], [b"x", b"a", b"c", b"y"]
    assert differing_blocks(base, target) == [Block(0, 0, 0, 1), Block(1, 2, 2, 2), Block(3, 4, 3, 4)]


def _kinds(count: int) -> tuple[list[int], list[int]]:
    random = Random(2)
    one, other = ([random.randrange(count) for _ in range(50_000)] for _ in range(2))
    return one, other


def _shuffled() -> tuple[list[int], list[int]]:
    lines = list(range(50_000))
    other = lines.copy()
    Random(3).shuffle(other)
    return lines, other


@pytest.mark.parametrize(
    ("base", "target"),
    [
        _kinds(2),
        _kinds(50),
        _kinds(10_000),
        _shuffled(),
        ([0] * 25_000 + [1] * 25_000, [1] * 25_000 + [0] * 25_000),
        (list(range(50_000)), [line + 50_000 * (line % 2) for line in range(50_000)]),
        (list(range(50_000)), list(range(50_000, 0, -1))),
    ],
    ids=["2 kinds", "50 kinds", "10,000 kinds", "shuffled", "swapped halves", "every second", "reversed"],
)
def test_no_pair_of_texts_takes_long(base: list[int], target: list[int]) -> None:
    began = time.thread_time()
    partners = match_lines(base, target)
    assert time.thread_time() - began < 4
    assert_matched(base, target, partners)
