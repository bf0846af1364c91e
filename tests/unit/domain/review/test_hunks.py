"""Hunks: exact, applied one by one, and with ids that mean the same change after every comparison."""

from __future__ import annotations

import time
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.domain.review.hunks import MAX_COMPARED_LINES, apply_hunks, compare
from server.domain.review.lines import common_prefix, common_suffix, count_lines, split_lines
from tests.unit.domain.review.texts import TEXTS


@given(TEXTS)
def test_the_lines_of_a_text_joined_are_the_text(text: bytes) -> None:
    lines = split_lines(text)
    assert (b"".join(lines), len(lines)) == (text, count_lines(text))
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines[:-1])


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_common_ends_are_whole_lines_and_do_not_overlap(
    start: bytes, one: bytes, two: bytes, end: bytes
) -> None:
    base, target = start + one + end, start + two + end
    prefix = common_prefix(base, target)
    suffix = common_suffix(base, target, prefix)
    assert base[:prefix] == target[:prefix]
    assert base[len(base) - suffix :] == target[len(target) - suffix :]
    assert prefix + suffix <= min(len(base), len(target))
    for text in (base, target):
        assert prefix in (0, len(text)) or text[prefix - 1] == ord("\n")
        assert suffix in (0, len(text)) or text[len(text) - suffix - 1] == ord("\n")


@given(TEXTS, TEXTS)
def test_all_hunks_make_the_target_and_none_make_the_base(base: bytes, target: bytes) -> None:
    hunks = compare(base, target)
    assert apply_hunks(base, hunks) == target
    assert apply_hunks(base, []) == base
    assert len({hunk.id for hunk in hunks}) == len(hunks)
    for hunk in hunks:
        place = hunk.place
        assert base[place.base_offset : place.base_end] == hunk.removed
        assert target[place.offset : place.end] == hunk.added
        assert hunk.removed != hunk.added
        assert base.count(b"\n", 0, place.base_offset) == place.base_line
        assert target.count(b"\n", 0, place.offset) == place.line
        assert (count_lines(hunk.removed), count_lines(hunk.added)) == (
            place.base_line_count,
            place.line_count,
        )


@given(TEXTS, TEXTS)
def test_no_hunk_could_be_shown_further_down_or_be_one_with_the_hunk_above(
    base: bytes, target: bytes
) -> None:
    hunks = compare(base, target)
    for index, hunk in enumerate(hunks):
        if hunk.removed and hunk.added:
            continue
        lines = split_lines(hunk.removed or hunk.added)
        following = hunks[index + 1].place.base_offset if index + 1 < len(hunks) else len(base)
        after = split_lines(base[hunk.place.base_end : following])
        # There is a line below it, which is not its first one, or the text ends.
        assert lines[0] != after[0] if after else following == len(base)
        if index:
            before = split_lines(base[hunks[index - 1].place.base_end : hunk.place.base_offset])
            # To move up to the hunk above, each line would have to be the last one of those that move.
            moving = before + lines
            assert any(moving[at] != moving[at + len(lines)] for at in range(len(before)))


@given(TEXTS, TEXTS, st.data())
def test_some_hunks_neither_lose_nor_invent_a_line(base: bytes, target: bytes, data: st.DataObject) -> None:
    hunks = compare(base, target)
    chosen = [hunk for hunk in hunks if data.draw(st.booleans())]
    expected, at = [], 0
    for hunk in hunks:
        expected += [base[at : hunk.place.base_offset], hunk.added if hunk in chosen else hunk.removed]
        at = hunk.place.base_end
    content = apply_hunks(base, chosen)
    assert content == b"".join([*expected, base[at:]])
    # What was left out is what differs still.
    assert apply_hunks(content, compare(content, target)) == target


def _numbered(lines: int) -> list[bytes]:
    return [b"line %d\n" % number for number in range(lines)]


@settings(max_examples=25)
@given(st.sets(st.integers(0, 39), min_size=2, max_size=12), st.data())
def test_the_id_of_a_hunk_stays_when_other_places_change(places: set[int], data: st.DataObject) -> None:
    # Far enough apart to be hunks of their own.
    base = _numbered(80)
    changes = {2 * place: b"changed %d\n" % place for place in places}
    fewer = {at for at in changes if data.draw(st.booleans())}

    def ids(chosen: set[int]) -> dict[bytes, str]:
        text = b"".join(changes[at] if at in chosen else line for at, line in enumerate(base))
        return {hunk.added: hunk.id for hunk in compare(b"".join(base), text)}

    everything, some = ids(set(changes)), ids(fewer)
    assert some == {added: hunk_id for added, hunk_id in everything.items() if added in some}
    assert len(some) == len(fewer)


def test_the_id_of_a_hunk_stays_when_the_base_gets_lines_elsewhere() -> None:
    lines = _numbered(40)
    changed = [*lines[:20], b"new\n", *lines[20:]]
    before = compare(b"".join(lines), b"".join(changed))
    after = compare(b"".join([b"top\n", *lines]), b"".join([b"top\n", *changed]))
    assert [hunk.id for hunk in before] == [hunk.id for hunk in after]
    assert after[0].place.base_line == before[0].place.base_line + 1


def test_an_id_never_means_another_of_several_equal_places() -> None:
    block = [b"{\n", b"  x\n", b"  y\n", b"  z\n", b"}\n"]
    base = block * 6
    changed = [*block[:2], b"  y2\n", *block[3:]]
    all_of_them = compare(b"".join(base), b"".join(changed * 6))
    # Between the first and the last, the same lines are around them.
    same = {hunk.id for hunk in all_of_them[1:-1]}
    assert len({hunk.id for hunk in all_of_them}) == 6
    without_one = compare(b"".join([*base[:10], *changed, *base[15:]]), b"".join(changed * 6))
    assert len(without_one) == 5
    assert same.isdisjoint(hunk.id for hunk in without_one)


@pytest.mark.parametrize(
    ("base", "target", "expected"),
    [
        (b"", b"", []),
        (b"a", b"a\n", [(b"a", b"a\n")]),
        (b"", b"a", [(b"", b"a")]),
        (b"a\r\n", b"a\n", [(b"a\r\n", b"a\n")]),
        (b"a\nb\n", b"a\n\nb\n", [(b"", b"\n")]),
        (b"\n\n", b"\n", [(b"\n", b"")]),
        (b"x\n" * 3, b"x\n" * 5, [(b"", b"x\nx\n")]),
    ],
)
def test_small_texts_differ_as_people_see_it(
    base: bytes, target: bytes, expected: list[tuple[bytes, bytes]]
) -> None:
    assert [(hunk.removed, hunk.added) for hunk in compare(base, target)] == expected


def test_which_of_two_equal_lines_came_in_does_not_depend_on_other_changes() -> None:
    base = b"a\n\n\n\nb\nc\n"
    lone = compare(base, b"a\n\n\n\n\nb\nc\n")
    other = compare(base, b"a\n\n\n\n\nb\nd\n")
    assert lone[0].id == other[0].id
    assert lone[0].place.base_line == 4


def _one_line_of_ten_megabytes() -> tuple[bytes, bytes]:
    return b"x" * 10_000_000, b"x" * 5_000_000 + b"y" + b"x" * 5_000_000


def _one_changed_line_in_ten_megabytes() -> tuple[bytes, bytes]:
    lines = [b"line %07d of a file\n" % number for number in range(430_000)]
    return b"".join(lines), b"".join([*lines[:215_000], b"another\n", *lines[215_001:]])


def _unrelated() -> tuple[bytes, bytes]:
    random = Random(4)
    one, other = (b"".join(b"%d\n" % random.randrange(10**12) for _ in range(100_000)) for _ in range(2))
    return one, other


def _equal_lines() -> tuple[bytes, bytes]:
    return b"\n" * 200_000, b"\n" * 100_000 + b"x\n" + b"\n" * 100_000


def _one_more_of_millions_of_equal_lines() -> tuple[bytes, bytes]:
    return b"\n" * 8_000_000, b"\n" * 8_000_001


def _more_lines_than_are_matched() -> tuple[bytes, bytes]:
    return b"a\n" * (MAX_COMPARED_LINES + 7), b"b\n" * 100_000 + b"a\n" + b"b\n" * 100_000


def _many_hunks() -> tuple[bytes, bytes]:
    lines = _numbered(100_000)
    return b"".join(lines), b"".join(b"\n" + line if index % 2 else line for index, line in enumerate(lines))


@pytest.mark.parametrize(
    "make",
    [
        _one_line_of_ten_megabytes,
        _one_changed_line_in_ten_megabytes,
        _unrelated,
        _equal_lines,
        _one_more_of_millions_of_equal_lines,
        _more_lines_than_are_matched,
        _many_hunks,
    ],
)
def test_large_texts_take_less_than_seconds(make: object) -> None:
    assert callable(make)
    base, target = make()
    began = time.thread_time()
    hunks = compare(base, target)
    assert time.thread_time() - began < 3
    assert apply_hunks(base, hunks) == target
