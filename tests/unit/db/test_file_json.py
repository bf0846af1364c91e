from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.db.file_json import PREFIX, files_from_jsonb, files_to_jsonb
from server.domain.proposals.files import File, text_bytes

#: Any text at all: with U+0000, lone surrogates, and what looks like our own marks.
odd = st.sampled_from(
    ["\0", "\ud800", "\udfff\ud800", "\ud83d\ude00", PREFIX, PREFIX + "YQ==", "", "YQ==", "é\n"]
)
texts = st.one_of(
    st.text(st.characters(codec=None, exclude_categories=())), odd, st.tuples(odd, odd).map("".join)
)
times = st.one_of(st.none(), texts)
files = st.one_of(
    st.builds(File, texts.map(text_bytes), st.just(True), times, times),
    st.builds(File, st.binary(), st.just(False), times, times),
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


def test_ordinary_files_are_stored_in_their_legacy_form() -> None:
    file = File(b"# A\nb", True, "2025-01-01T00:00:00Z")
    assert json.loads(files_to_jsonb({"/a.md": file})) == {
        "/a.md": {"content": ["# A", "b"], "created_at": "2025-01-01T00:00:00Z"}
    }


@pytest.mark.parametrize("text", ["YQ==", "YWJj\nYWJj", ""])
def test_a_text_that_looks_like_base64_stays_a_text(text: str) -> None:
    assert files_from_jsonb(files_to_jsonb({"a": File(text.encode())})) == {"a": File(text.encode())}


def test_a_binary_file_stays_binary_though_it_could_be_text() -> None:
    assert files_from_jsonb(files_to_jsonb({"a": File(b"text", False)})) == {"a": File(b"text", False)}


def test_an_escaped_field_is_marked_and_readable_as_base64() -> None:
    stored = json.loads(files_to_jsonb({"a": File(b"a\0b")}))
    assert stored == {"a": {"content": ["YQBi"], "encoding": "base64", "escaped": ["content"]}}


def test_null_means_no_files() -> None:
    assert files_from_jsonb(None) == {}
