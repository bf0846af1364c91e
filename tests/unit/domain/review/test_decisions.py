"""Decisions: what is accepted comes in, what is rejected stays out, and nothing else happens."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.errors import Unprocessable
from server.domain.proposals.files import File
from server.domain.review.changes import ChangeKind, diff_files
from server.domain.review.decisions import (
    DecideFile,
    Decision,
    FileDecision,
    apply_decisions,
    bring_in,
)
from server.domain.review.hunks import apply_hunks
from tests.unit.domain.review.texts import FILE_SETS

A, R = Decision.ACCEPTED, Decision.REJECTED
#: Two hunks in one file.
BASE = {"/a": File(b"1\n2\n3\n4\n5\n")}
TARGET = {"/a": File(b"one\n2\n3\n4\nfive\n")}


def contents(files: dict[str, File]) -> dict[str, bytes]:
    return {path: file.content for path, file in files.items()}


@given(FILE_SETS, FILE_SETS)
def test_everything_rejected_gives_the_base(base: dict[str, File], target: dict[str, File]) -> None:
    changes = diff_files(base, target)
    by_file = {change.path: FileDecision(R) for change in changes}
    assert contents(apply_decisions(base, changes, by_file)) == contents(base)
    by_hunk = {
        change.path: FileDecision(None, {hunk.id: R for hunk in change.hunks})
        for change in changes
        if change.kind is not ChangeKind.RENAMED and change.hunks
    }
    rest = {change.path: FileDecision(R) for change in changes if change.path not in by_hunk}
    assert contents(apply_decisions(base, changes, {**by_hunk, **rest})) == contents(base)


@given(FILE_SETS, FILE_SETS, st.data())
def test_random_decisions_neither_lose_nor_invent_anything(
    base: dict[str, File], target: dict[str, File], data: st.DataObject
) -> None:
    changes = diff_files(base, target)
    choice = st.sampled_from([None, A, R])
    decisions = {
        change.path: FileDecision(
            data.draw(choice),
            {hunk.id: decision for hunk in change.hunks if (decision := data.draw(choice)) is not None},
        )
        for change in changes
        if data.draw(st.booleans())
    }
    result = contents(apply_decisions(base, changes, decisions))
    expected = contents(base)
    for change in changes:
        decision = decisions.get(change.path, FileDecision())
        chosen = [
            each for each in change.hunks if (decision.hunks.get(each.id) or decision.decision) is not R
        ]
        del_path = expected.pop(change.base_path, None)
        assert (del_path is None) == (change.base is None)
        comes = decision.decision is not R
        if change.kind in (ChangeKind.ADDED, ChangeKind.DELETED):
            # One hunk, or none in an empty file.
            taken = bool(chosen) if change.hunks else comes
            file = change.target if taken else change.base
            if file is not None:
                expected[change.path] = file.content
        else:
            expected[change.path if comes else change.base_path] = apply_hunks(change.base_content, chosen)
    assert result == expected


def test_a_decision_about_a_hunk_goes_before_the_one_about_its_file() -> None:
    changes = diff_files(BASE, TARGET)
    first, last = (hunk.id for hunk in changes[0].hunks)
    decided = FileDecision().decide([DecideFile("/a", R, (first,)), DecideFile("/a", A)], None)
    assert apply_decisions(BASE, changes, {"/a": decided})["/a"].content == b"1\n2\n3\n4\nfive\n"
    decided = FileDecision().decide([DecideFile("/a", R), DecideFile("/a", A, (last,))], None)
    assert apply_decisions(BASE, changes, {"/a": decided})["/a"].content == b"1\n2\n3\n4\nfive\n"
    taken_back = decided.decide([DecideFile("/a", None, (last,)), DecideFile("/a", None)], None)
    assert taken_back == FileDecision()
    assert apply_decisions(BASE, changes, {"/a": taken_back})["/a"] is TARGET["/a"]


def test_a_renamed_file_that_is_rejected_keeps_its_path_with_the_hunks_that_are_accepted() -> None:
    base = {"/old": File(b"1\n2\n3\n4\n5\n6\n7\n")}
    changes = diff_files(base, {"/new": File(b"one\n2\n3\n4\n5\n6\nseven\n")})
    first, last = (hunk.id for hunk in changes[0].hunks)
    rejected = FileDecision(R, {first: A})
    assert contents(apply_decisions(base, changes, {"/new": rejected})) == {
        "/old": b"one\n2\n3\n4\n5\n6\n7\n"
    }
    without_texts = FileDecision(None, {first: R, last: R})
    assert contents(apply_decisions(base, changes, {"/new": without_texts})) == {"/new": base["/old"].content}


def test_a_new_file_comes_in_under_the_path_that_a_decision_gives_it() -> None:
    base = {"/old": File(b"1\n2\n3\n")}
    target = {"/con.md": File(b"new"), "/renamed": File(b"1\n2\n3\n")}
    changes = diff_files(base, target)
    decisions = {"/con.md": FileDecision(A, new_path="/a.md"), "/renamed": FileDecision(A, new_path="/b")}
    assert contents(apply_decisions(base, changes, decisions)) == {"/a.md": b"new", "/b": b"1\n2\n3\n"}
    for taken in ("/renamed", "/b"):
        decisions["/con.md"] = FileDecision(A, new_path=taken)
        if taken == "/b":
            with pytest.raises(Unprocessable, match="two files"):
                apply_decisions(base, changes, decisions)
        else:
            assert apply_decisions(base, changes, decisions)[taken].content == b"new"


def test_a_decision_about_a_file_holds_for_the_content_that_it_is_about() -> None:
    commands = [DecideFile("/a", R, ("1" * 32,)), DecideFile("/a", R)]
    decided = FileDecision().decide(commands, "a" * 64)
    assert decided.about("a" * 64) is decided
    assert decided.about("b" * 64) == FileDecision(hunks={"1" * 32: R})
    assert decided.about(None).decision is None


def test_a_rejected_file_comes_in_under_the_name_that_a_decision_gives_it() -> None:
    rejected = {"/../x": File(b"x"), "/.git/config": File(b"y")}
    files = bring_in({"/b": File(b"b")}, rejected, {"/../x": "/a"})
    assert contents(files) == {"/a": b"x", "/b": b"b"}


def test_two_rejected_files_do_not_come_under_one_name() -> None:
    rejected = {"/../x": File(b"x"), "/../y": File(b"y")}
    with pytest.raises(Unprocessable, match="two files"):
        bring_in({"/b": File(b"b")}, rejected, {"/../x": "/b"})
    with pytest.raises(Unprocessable, match="two files"):
        bring_in({}, rejected, {"/../x": "/a", "/../y": "/a"})


def test_a_thousand_decisions_about_a_file_with_many_hunks_take_less_than_seconds() -> None:
    files = [{"/n": File(b"\n" * 60_000)}, {"/n": File(b"\nx\n" * 30_000)}]
    [change] = diff_files(*files)
    known = FileDecision(None, dict.fromkeys((hunk.id for hunk in change.hunks), A))
    commands = [DecideFile("/n", R, (hunk.id,)) for hunk in change.hunks[:1000]]
    began = time.process_time()
    assert all(change.hunk_ids.issuperset(command.hunk_ids) for command in commands)
    decided = known.decide(commands, None)
    assert time.process_time() - began < 1
    assert Counter(decided.hunks.values()) == {R: 1000, A: len(change.hunks) - 1000}
    assert set(known.hunks.values()) == {A}


def test_decisions_are_carried_out_one_after_the_other() -> None:
    known = FileDecision(None, {"h": R, "i": R})
    commands = [
        DecideFile("/a", A, ("h", "j")),
        DecideFile("/a", R, new_path="/b"),
        DecideFile("/a", None, ("i",)),
        DecideFile("/a", R, ("j",)),
        DecideFile("/a", A),
    ]
    assert known.decide(commands, "sha") == FileDecision(A, {"h": A, "j": R}, None, "sha")
    assert known.decide([DecideFile("/a", None)], "sha") == FileDecision(None, {"h": R, "i": R})
