from __future__ import annotations

from datetime import UTC, datetime

import pytest

from server.domain.drafts.draft import DraftFile
from server.domain.drafts.given import agent_files, are_given, proposed_changes
from server.domain.proposals.files import parse_file

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BASE = {"/kept": "k", "/changed": "1", "/gone": "g", "/rejected": "r"}


def a_file(content: bytes) -> DraftFile:
    return DraftFile("/a", "0" * 64, len(content), NOON, content)


@pytest.mark.parametrize(
    "content",
    [b"", b"one", b"one\n", b"one\r\ntwo\n\n", "é\u2028".encode(), b"\xff\x00", b"\xed\xa0\x80", b"\0"],
)
def test_a_file_in_deepagents_form_is_read_back_byte_for_byte(content: bytes) -> None:
    form = agent_files({"/a": a_file(content)})["/a"]
    read = parse_file(form)
    assert read.content == content
    assert (read.created_at, read.modified_at) == ("2026-03-01T12:00:00+00:00",) * 2
    assert isinstance(form["content"], list) == ("encoding" not in form)


def test_a_run_works_on_what_it_was_given_only_if_it_shows_all_of_it_first() -> None:
    assert are_given({"/a": "1", "/b": "2"}, {"/a": "1", "/b": "2", "/large_tool_results/x": "3"})
    # An agent without the files writes one of them anew, first as it was.
    assert not are_given({"/a": "1", "/b": "2"}, {"/a": "1"})
    assert not are_given({"/a": "1"}, {"/a": "another"})
    assert not are_given({}, {"/a": "1"})


def test_files_given_and_untouched_are_no_changes_and_those_that_are_gone_are_deleted() -> None:
    proposed = {"/kept": "k", "/changed": "2", "/new": "n"}
    changes = proposed_changes(BASE, proposed, {"/rejected"}, includes_base=True)
    assert changes == {"/changed": "2", "/gone": None, "/new": "n"}


def test_a_run_that_was_not_given_the_files_deletes_none() -> None:
    assert proposed_changes(BASE, {"/changed": "2"}, (), includes_base=False) == {"/changed": "2"}
    assert proposed_changes(BASE, {}, (), includes_base=False) == {}


def test_a_run_that_deleted_everything_changes_everything() -> None:
    assert proposed_changes(BASE, {}, (), includes_base=True) == dict.fromkeys(sorted(BASE))
