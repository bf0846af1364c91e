"""Directives in prompts."""

from __future__ import annotations

from typing import Any

import pytest

from server.replay.directives import BadDirective, Directive, find_directive


def messages(*contents: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content} for content in contents]}


@pytest.mark.parametrize(
    ("definition", "payload", "directive"),
    [
        ({}, {}, Directive()),
        ({"user_request": "a [[replay:x]] b"}, {}, Directive("x")),
        ({"user_request": "[[replay:x]] [[replay:y speed=2.5]]"}, {}, Directive("y", 2.5)),
        ({"user_request": "none"}, messages("[[replay:x drop=3 silent=4]]"), Directive("x", None, 3, 4)),
        (
            {"replay": "x stall=2 stall_s=0.5 duplicate=3 cut=4"},
            {},
            Directive("x", None, None, None, 3, 4, 2, 0.5),
        ),
        ({"user_request": "[[replay:x]]"}, messages("[[replay:y]]"), Directive("x")),
        ({}, messages("[[replay:x]]", [{"type": "text", "text": "[[replay:y]]"}, 3]), Directive("y")),
        ({"replay": "x speed=1"}, messages("none"), Directive("x", 1.0)),
        ({"replay": "x", "user_request": "[[replay:y]]"}, {}, Directive("y")),
        ({"user_request": 3}, {"messages": [3, {"content": 3}]}, Directive()),
    ],
)
def test_the_last_directive_of_the_prompt_counts(
    definition: dict[str, Any], payload: dict[str, Any], directive: Directive
) -> None:
    assert find_directive(definition, payload) == directive


@pytest.mark.parametrize(
    "words",
    [
        "",
        " ",
        "speed=1",
        "x fast",
        "x fast=1",
        "x speed=",
        "x speed=0",
        "x speed=nan",
        "x speed=inf",
        "x drop=0",
        "x drop=1.5",
        "x silent=-1",
        "x stall=1.5",
        "x stall_s=0",
    ],
)
def test_an_invalid_directive_says_why(words: str) -> None:
    with pytest.raises(BadDirective, match="replay"):
        find_directive({"user_request": f"[[replay:{words}]]"}, {})


def test_a_recording_whose_name_is_not_a_text_is_refused() -> None:
    with pytest.raises(BadDirective):
        find_directive({"replay": 3}, {})


def test_a_job_without_a_directive_is_played_as_the_runtime_was_asked_to() -> None:
    asked = Directive(speed=2.0, drop=3)
    assert find_directive({}, {}, asked) == asked
    assert find_directive({"replay": "x"}, {}, asked) == Directive("x")
