"""Entries of a file map: the compiled form reads a text file as Python does, and leaves others to it."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.proposals.files import NotAFile
from server.frames.file_maps import read_file
from tests.unit.compiled.forms import compiled_steps

TEXTS = st.text(max_size=20) | st.sampled_from(['a\n"b"\\', "é\u2028\x7f\x00", "\U0001f600", "\ud83d", ""])
CONTENTS = TEXTS | st.lists(TEXTS, max_size=4) | st.none() | st.just(["a", 1]) | st.just({"content": "a"})
MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "content": CONTENTS,
        "encoding": st.sampled_from(["utf-8", "UTF-8", "base64", None, 1]),
        "created_at": TEXTS | st.none() | st.integers(),
        "modified_at": TEXTS | st.none(),
        "mode": st.integers(),
        'con"tent': TEXTS,
    },
)
ENTRIES = MEMBERS | CONTENTS | st.integers()
SEPARATORS = st.sampled_from([(", ", ": "), (",", ":"), (" ,\n", "\t: ")])


def assert_read_as_in_python(entry: bytes) -> bool:
    """The entry is the file that Python reads. Returns whether the compiled form has read it."""
    read_text = compiled_steps().read_text
    found = read_text(entry)
    if found is not None:
        assert read_file(entry, read_text) == read_file(entry)
    return found is not None


@given(ENTRIES, SEPARATORS, st.booleans())
def test_an_entry_is_the_file_that_python_reads(
    entry: Any, separators: tuple[str, str], ensure_ascii: bool
) -> None:
    text = json.dumps(entry, separators=separators, ensure_ascii=ensure_ascii)
    assert_read_as_in_python(text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    ("entry", "taken"),
    [
        (rb'"a\nb"', True),
        (rb'["a", "\u00e9\ud83d\ude00", ""]', True),
        (rb"[]", True),
        (rb'{ "content" : [ "a" , "b" ] , "encoding" : "utf-8" }', True),
        (rb'{"content": "a", "created_at": "t", "modified_at": "u"}', True),
        (rb'{"content": "YQ==", "encoding": "base64"}', False),
        (rb'{"content": "a", "content": "b"}', False),
        (rb'{"content": "a", "mode": 7}', False),
        (rb'{"content": "a", "created_at": null}', False),
        (rb'{"created_at": "t"}', False),
        (rb'"\ud83d"', False),
        (rb"{}", False),
        (rb"", False),
    ],
)
def test_a_usual_text_file_is_read_by_the_compiled_form(entry: bytes, taken: bool) -> None:
    assert assert_read_as_in_python(entry) is taken


@pytest.mark.parametrize("seed", range(20))
def test_an_entry_that_is_broken_is_left_to_python(seed: int) -> None:
    random = Random(seed)
    whole = rb'{"content":["a\n","\u00e9\"",""],"encoding":"utf-8","created_at":"t","modified_at":"u"}'
    for _ in range(500):
        at, end = sorted(random.choices(range(len(whole) + 1), k=2))
        put = random.choice((b"", b'"', b"\\", b",", b"]", b"}", b"\xff", b"\n", b" ", b"\\u12"))
        entry = whole[:at] + put + whole[random.choice((at, min(at + 1, len(whole)), end)) :]
        try:
            read_file(entry)
        except NotAFile:
            assert compiled_steps().read_text(entry) is None
        else:
            assert_read_as_in_python(entry)
