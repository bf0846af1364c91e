from __future__ import annotations

import pytest

from server.domain.drafts.context import MAX_CONTEXT_BYTES, check_selection, lines_of, with_context
from server.domain.errors import Unprocessable

TEXT = "one\ntwo\r\nthree\n"


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 0), ("\n", 1), ("a", 1), ("a\n", 1), ("a\n\n", 2), ("a\r\nb", 2), ("a\rb", 1), ("a\u2028b", 1)],
)
def test_lines_are_counted_as_editors_do(text: str, count: int) -> None:
    assert len(lines_of(text)) == count


@pytest.mark.parametrize("selection", ["line 1", "line 3", "lines 1-3", "lines 2-2", "lines 3-3"])
def test_lines_that_the_file_has_may_be_selected(selection: str) -> None:
    check_selection(selection, TEXT)


@pytest.mark.parametrize("selection", ["line 4", "lines 1-4", "lines 4-9", "line 99999999999999999999"])
def test_lines_that_the_file_does_not_have_are_refused(selection: str) -> None:
    with pytest.raises(Unprocessable) as wrong:
        check_selection(selection, TEXT)
    assert wrong.value.fields == {"context_selection": "is outside the file, which has 3 lines"}


def test_an_empty_file_has_no_line_to_select() -> None:
    with pytest.raises(Unprocessable):
        check_selection("line 1", "")


def test_a_prompt_has_the_selected_lines_behind_it() -> None:
    assert with_context("Do it.", "/a.md", "lines 2-3", TEXT) == (
        "Do it.\n\nThe request is about lines 2-3 of the file `/a.md`:\n\n```\ntwo\r\nthree\n```\n"
    )
    assert with_context("Do it.", "/a.md", None, TEXT).endswith(
        "The request is about the file `/a.md`:\n\n```\none\ntwo\r\nthree\n```\n"
    )


def test_lines_with_a_fence_of_their_own_are_in_a_longer_one() -> None:
    prompt = with_context("x", "/a.md", None, "```python\n````\n")
    assert "\n`````\n```python\n````\n`````\n" in prompt


def test_a_long_file_is_cut_at_a_line_and_the_prompt_says_so() -> None:
    prompt = with_context("x", "/a.md", None, "0123456789\n" * 10_000)
    assert MAX_CONTEXT_BYTES - 50 < len(prompt) < MAX_CONTEXT_BYTES + 200
    assert "0123456789\n```\n\nThe rest of it is left out here.\n" in prompt


def test_a_long_line_is_cut_between_characters() -> None:
    prompt = with_context("x", "/a.md", None, "é" * MAX_CONTEXT_BYTES)
    assert len(prompt.encode()) < MAX_CONTEXT_BYTES + 200
    assert "left out" in prompt
