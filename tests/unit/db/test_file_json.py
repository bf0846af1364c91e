from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.db.file_json import (
    PREFIX,
    file_from_json,
    files_from_jsonb,
    files_to_jsonb,
    rejected_from_jsonb,
    rejected_to_jsonb,
)
from server.domain.proposals.files import File, text_bytes
from server.domain.proposals.partition import RejectedFile
from server.domain.proposals.paths import Rejection
from tests.support.held_threads import lets_others_run

#: Any text at all: with U+0000, lone surrogates, and what looks like our own marks.
odd = st.sampled_from(
    ["\0", "\ud800", "\udfff\ud800", "\ud83d\ude00", PREFIX, PREFIX + "YQ==", "", "YQ==", "é\n"]
)
texts = st.one_of(
    st.text(st.characters(codec=None, exclude_categories=())),
    st.text(st.characters(max_codepoint=127)),
    odd,
    st.tuples(odd, odd).map("".join),
)
times = st.one_of(st.none(), texts)
members = st.dictionaries(texts, st.sampled_from(["1", "null", '"\\u0000"']), max_size=2)
files = st.one_of(
    st.builds(File, texts.map(text_bytes), st.just(True), times, times, members),
    st.builds(File, st.binary(), st.just(False), times, times, members),
)


def fits(text: str) -> bool:
    json.dumps(json.loads(text), ensure_ascii=False).encode()  # raises on a lone surrogate
    return True


@given(st.dictionaries(texts, files, max_size=5))
def test_any_files_are_the_same_when_read_back_from_a_value_that_jsonb_can_hold(
    given_files: dict[str, File],
) -> None:
    stored = files_to_jsonb(given_files)
    assert fits(stored)
    assert "\0" not in json.dumps(json.loads(stored), ensure_ascii=False)
    assert files_from_jsonb(stored) == given_files
    # The same without the lines, when the content is known.
    for path, file in given_files.items():
        (form,) = json.loads(files_to_jsonb({path: file})).values()
        del form["content"]
        assert file_from_json(form, file.content) == file


def test_ordinary_files_are_stored_in_their_legacy_form() -> None:
    file = File(b"# A\nb", True, "2025-01-01T00:00:00Z")
    assert json.loads(files_to_jsonb({"/a.md": file})) == {
        "/a.md": {
            "content": ["# A", "b"],
            "created_at": "2025-01-01T00:00:00Z",
            "sha256": file.sha256,
        }
    }


def test_marks_and_other_members_are_stored_beside_the_content() -> None:
    file = File(b"x", extra={"mode": "420"})
    assert json.loads(files_to_jsonb({"/a": file}, {"/a": ("collision",)})) == {
        "/a": {
            "content": ["x"],
            "sha256": file.sha256,
            "extra": {"mode": "420"},
            "portability": ["collision"],
        }
    }


@pytest.mark.parametrize("text", ["YQ==", "YWJj\nYWJj", ""])
def test_a_text_that_looks_like_base64_stays_a_text(text: str) -> None:
    assert files_from_jsonb(files_to_jsonb({"a": File(text.encode())})) == {"a": File(text.encode())}


def test_a_binary_file_stays_binary_though_it_could_be_text() -> None:
    assert files_from_jsonb(files_to_jsonb({"a": File(b"text", False)})) == {"a": File(b"text", False)}


def test_an_escaped_field_is_marked_and_readable_as_base64() -> None:
    stored = json.loads(files_to_jsonb({"a": File(b"a\0b")}))
    del stored["a"]["sha256"]
    assert stored == {"a": {"content": ["YQBi"], "encoding": "base64", "escaped": ["content"]}}


ANY_REJECTED = st.builds(
    RejectedFile,
    texts,
    st.sampled_from([*(each.value for each in Rejection), "not_absolute", "collision"]),
    st.none() | st.just("00" * 32),
    st.none() | st.integers(0, 2**40),
)


@given(st.lists(ANY_REJECTED, max_size=4))
def test_any_rejected_files_are_the_same_when_read_back(rejected: list[RejectedFile]) -> None:
    stored = rejected_to_jsonb(rejected)
    assert (stored is None) is (not rejected)
    assert stored is None or fits(stored)
    assert rejected_from_jsonb(stored) == tuple(rejected)


def test_the_files_of_the_first_release_are_read() -> None:
    assert rejected_from_jsonb(
        '[["/a.", "trailing_dot_or_space"], ["base64:AGE=", "control_character"]]'
    ) == (
        RejectedFile("/a.", "trailing_dot_or_space"),
        RejectedFile("\0a", "control_character"),
    )
    assert files_from_jsonb('{"/a": {"content": ["x", ""], "modified_at": "t"}}') == {
        "/a": File(b"x\n", modified_at="t")
    }


def test_null_means_no_files() -> None:
    assert files_from_jsonb(None) == {}


@pytest.mark.parametrize("is_text", [True, False])
def test_a_large_content_is_stored_a_part_at_a_time(is_text: bool) -> None:
    file = File(b"a line\n" * (1 << 20), is_text)
    tracemalloc.start()
    try:
        text = files_to_jsonb({"/a": file})
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert files_from_jsonb(text) == {"/a": file}
    # The parts, what is made of them, and what is read once more to see whether jsonb can hold it.
    assert peak_bytes < 2.2 * len(text)
    # Base64 takes no time.
    assert not is_text or lets_others_run(lambda: lambda: files_to_jsonb({"/a": file}), below=0.3)
