"""Merges of texts: what one side changed is taken, nothing is lost, and git says the same."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from random import Random

from hypothesis import HealthCheck, given, settings

from server.domain.review.hunks import differing_ranges
from server.domain.review.line_merge import MergedText, merge_texts
from server.domain.review.lines import split_lines
from tests.support.git import git, needs_git
from tests.unit.domain.review.texts import TEXTS, triple

#: Random triples that are merged by git, too. `poe merges` takes 2,000: see the ADR.
TRIPLES = int(os.environ.get("TRIPLES", "60"))


def places(merged: MergedText) -> list[tuple[bytes, bytes, bytes]]:
    return [(each.base.text, each.draft.text, each.proposal.text) for each in merged.conflicts]


@given(TEXTS, TEXTS)
def test_what_only_one_side_changed_is_taken(base: bytes, changed: bytes) -> None:
    assert merge_texts(base, changed, base) == MergedText(changed)
    assert merge_texts(base, base, changed) == MergedText(changed)
    assert merge_texts(base, changed, changed) == MergedText(changed)


@given(TEXTS, TEXTS, TEXTS)
def test_a_merge_loses_no_line_of_either_side_and_invents_none(
    base: bytes, draft: bytes, proposal: bytes
) -> None:
    merged = merge_texts(base, draft, proposal)
    other_way = merge_texts(base, proposal, draft)
    assert places(merged) == [(b, d, p) for b, p, d in places(other_way)]
    before, ours, theirs = (Counter(split_lines(text)) for text in (base, draft, proposal))
    result = Counter(split_lines(merged.content))
    if merged.conflicts:
        return
    assert merged == other_way
    # Of each kind of line: as many came and went as on both sides together, or as on one side when both
    # did the same.
    for line in {*before, *ours, *theirs, *result}:
        changes = (ours[line] - before[line], theirs[line] - before[line])
        least, most = sorted((*changes, sum(changes)))[::2]
        assert least <= result[line] - before[line] <= most


@given(TEXTS, TEXTS, TEXTS)
def test_the_places_of_a_conflict_are_where_they_say(base: bytes, draft: bytes, proposal: bytes) -> None:
    for place in merge_texts(base, draft, proposal).conflicts:
        for text, lines in ((base, place.base), (draft, place.draft), (proposal, place.proposal)):
            assert split_lines(text)[lines.first : lines.first + lines.count] == split_lines(lines.text)
        assert place.draft.text != place.proposal.text
        assert place.base.text not in (place.draft.text, place.proposal.text)


def test_changes_of_different_places_come_together() -> None:
    base, draft, proposal = b"1\n2\n3\n4\n5\n", b"one\n2\n3\n4\n5\n", b"1\n2\n3\n4\nfive"
    assert merge_texts(base, draft, proposal) == MergedText(b"one\n2\n3\n4\nfive")


def test_changes_of_the_same_place_and_of_neighbouring_lines_are_a_conflict() -> None:
    base = b"1\n2\n3\n"
    assert places(merge_texts(base, b"1\ntwo\n3\n", b"1\nzwei\n3\n")) == [(b"2\n", b"two\n", b"zwei\n")]
    assert places(merge_texts(base, b"one\n2\n3\n", b"1\ntwo\n3\n")) == [
        (b"1\n2\n", b"one\n2\n", b"1\ntwo\n")
    ]
    assert places(merge_texts(base, b"1\nx\n2\n3\n", b"1\ny\n2\n3\n")) == [(b"", b"x\n", b"y\n")]
    assert places(merge_texts(b"", b"x\n", b"y\n")) == [(b"", b"x\n", b"y\n")]


@needs_git
def test_git_merges_random_texts_in_the_same_way(tmp_path: Path) -> None:
    random = Random(7)
    clean = same_places = 0
    different: list[tuple[bytes, ...]] = []
    for _ in range(TRIPLES):
        texts = triple(random)
        for name, text in zip(("base", "draft", "proposal"), texts, strict=True):
            (tmp_path / name).write_bytes(text)
        done = git(tmp_path, "merge-file", "--diff3", "-p", "draft", "base", "proposal")
        assert 0 <= done.returncode < 128, done.stderr
        merged = merge_texts(*texts)
        clean += not merged.conflicts
        expected = None if done.returncode else done.stdout
        if expected != (None if merged.conflicts else merged.content):
            different.append(texts)
        else:
            same_places += marked_places(done.stdout) == [tuple(map(ended, each)) for each in places(merged)]
    print(
        f"{TRIPLES - len(different)} of {TRIPLES} merges are git's, {clean} of all are without a conflict; "
        f"the places of conflicts are the same in {same_places}"
    )
    assert len(different) <= TRIPLES // 200, different
    for base, *sides in different:
        edits = [edits_of_git_and_ours(tmp_path, base, side) for side in sides]
        # Several edits exist: git takes another one of a side, and none that is shorter.
        assert any(theirs != ours for theirs, ours in edits), (base, sides)
        assert all(_size(theirs) >= _size(ours) for theirs, ours in edits), (base, sides)
    # Among equal lines, several shortest edits exist: git may show another one.
    assert same_places >= 0.9 * TRIPLES


#: A difference: its first line in the base and in the side, from 0, with how many lines there are of each.
Edit = tuple[int, int, int, int]


def edits_of_git_and_ours(folder: Path, base: bytes, side: bytes) -> tuple[list[Edit], list[Edit]]:
    """The differences between two texts: as a merge by git finds them, and as ours does."""
    (folder / "base").write_bytes(base)
    (folder / "side").write_bytes(side)
    plain = ("--no-index", "--unified=0", "--diff-algorithm=myers", "--no-indent-heuristic", "--no-color")
    shown = git(folder, "diff", *plain, "base", "side").stdout.decode()
    theirs = []
    for found in re.finditer(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", shown, re.MULTILINE):
        first, count, line, new = (1 if number is None else int(number) for number in found.groups())
        # Of no lines, git tells the line before.
        theirs.append((first - bool(count), count, line - bool(new), new))
    ours = [
        (each.base_line, each.base_line_count, each.line, each.line_count)
        for each in differing_ranges(base, side)
    ]
    return theirs, ours


def _size(edits: list[Edit]) -> int:
    return sum(removed + added for _, removed, _, added in edits)


@needs_git
@given(base=TEXTS, side=TEXTS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_edit_is_longer_than_that_of_git(tmp_path: Path, base: bytes, side: bytes) -> None:
    theirs, ours = edits_of_git_and_ours(tmp_path, base, side)
    assert _size(theirs) >= _size(ours)
    assert bool(theirs) == bool(ours) == (base != side)


def marked_places(text: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """The three texts of each place that git marked."""
    found = []
    for part in text.split(b"<<<<<<< draft\n")[1:]:
        draft, rest = part.split(b"||||||| base\n")
        base, rest = rest.split(b"=======\n")
        found.append((base, draft, rest.split(b">>>>>>> proposal\n")[0]))
    return found


def ended(text: bytes) -> bytes:
    """The lines as they are before a mark: git ends the last one of a text."""
    return text if not text or text.endswith(b"\n") else text + b"\n"
