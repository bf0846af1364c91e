"""Values in printed form: all of JSON's kinds, and nothing is evaluated."""

from __future__ import annotations

import ast
import json
import re
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.frames.literals import MAX_DEPTH, MAX_PARTS, Printed, value

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


def as_json(found: Any) -> Any:
    """The value with lists for tuples."""
    if isinstance(found, dict):
        return {key: as_json(item) for key, item in found.items()}
    return [as_json(item) for item in found] if isinstance(found, (list, tuple)) else found


@given(VALUES)
def test_what_python_prints_is_read_back(printed: Any) -> None:
    assert value(repr(printed)) == as_json(printed)


@example("'", "\\n\ud800")
@example('"', "\\x4€")
@given(
    st.sampled_from("'\""),
    st.lists(
        st.sampled_from(
            ["\\", "\\x4", "\\u00e", "\\U0001f60", *"'\"ntrxuUN0189adf{}\n\r\t\0é€😀\ud800\u2028"]
        )
    ).map("".join),
)
def test_a_string_literal_has_the_value_that_python_gives_it(quote: str, inner: str) -> None:
    text = f"{quote}{inner}{quote}"
    found = value(text)
    if not isinstance(found, Printed):
        assert found == (ast.literal_eval(text) if "\\" in inner else inner)
    elif quote not in (bare := re.sub(r"\\[\\'\"nrtxuU]", "", inner)) and "\\" not in bare:
        with pytest.raises((ValueError, SyntaxError)):
            ast.literal_eval(text)


@pytest.mark.parametrize(
    "text",
    [
        "<object at 0x7f>",
        "datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)",
        "array([1, 2])",
        "b'x'",
        "{1, 2}",
        "nan",
        "-inf",
        "1e999",
        "Ellipsis",
        "...",
        "'a' 'b'",
        "'a' + 'b'",
        "'\\d'",
        "f'{x}'",
        "1 < 2",
        "1 if x else 2",
        "__import__('os').abort()",
        "9" * 5000,
        "",
        "it's",
        "(",
        "[1, 2",
        "{'a': 1",
        "'",
        "'a\nb'",
    ],
)
def test_what_is_not_a_literal_of_json_stays_printed(text: str) -> None:
    found = value(text)
    assert isinstance(found, Printed)
    assert found == text


def test_a_part_that_is_not_a_literal_costs_itself() -> None:
    found = value("[1, <a, b>, {'x': f(2, 'y')}, (3,), (4), {(1, 2): 5, None: 6}]")
    # A comma outside brackets and quotes ends a value, even in angle brackets.
    assert found == [1, "<a", "b>", {"x": "f(2, 'y')"}, [3], 4, {"(1, 2)": 5, "None": 6}]
    assert value("[x for x in y]") == [Printed("x for x in y")]


def test_a_value_that_is_too_deep_or_too_long_stays_printed() -> None:
    deep = "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)
    found = value(deep)
    for _ in range(MAX_DEPTH):
        (found,) = found
    assert found == Printed("[]")
    assert value(f"[{'1, ' * MAX_PARTS}]") == Printed(f"[{'1, ' * MAX_PARTS}]")
    assert len(value(f"[{'1, ' * 1000}]")) == 1000


@pytest.mark.parametrize(
    "text",
    [
        f"[{'1, ' * (MAX_PARTS + 1)}]",
        "f'" + "{a}" * 1_000_000 + "'",
        "1<" * 1_000_000 + "1",
        "[" * 1_000_000,
        "-" * 1_000_000 + "1",
        "{" * 1_000_000 + "}" * 1_000_000,
        "(1, " * 500_000,
        "{'a': " * 100_000,
        "'" + "\\x41" * 500_000,
    ],
    ids=lambda text: text[:8],
)
def test_hostile_values_take_little_memory(text: str) -> None:
    tracemalloc.start()
    try:
        assert isinstance(value(text), Printed)
        assert tracemalloc.get_traced_memory()[1] < 40 * 2**20
    finally:
        tracemalloc.stop()


@given(st.text(max_size=60))
def test_any_text_has_a_value_that_json_can_write(text: str) -> None:
    json.dumps(value(text), allow_nan=False)
