"""The tool calls in an agent's request for input."""

from __future__ import annotations

import json

import pytest

from server.domain.journal.events import InputAction, InputRequested
from server.frames.questions import read_request

VALUE = {
    "action_requests": [
        {"name": "write_file", "args": {"path": "/a.md", "text": "it's\n"}, "description": "Write a file?"},
        {"name": "ls", "args": {}},
    ],
    "review_configs": [
        {"action_name": "write_file", "allowed_decisions": ["approve", "edit", "reject"]},
        {"action_name": "other", "allowed_decisions": ["approve"]},
    ],
}
WRITE = InputAction(
    "write_file", '{"path": "/a.md", "text": "it\'s\\n"}', "Write a file?", ("approve", "edit", "reject")
)
ACTIONS = (WRITE, InputAction("ls", "{}"))


@pytest.mark.parametrize(
    "request_text",
    [
        f"[Interrupt(value={VALUE!r}, id='i1')]",
        f"(Interrupt(value={VALUE!r}, resumable=True, ns=['a:1'], id='i1'),)",
        json.dumps([{"value": VALUE, "id": "i1"}]),
    ],
)
def test_the_actions_of_a_request_are_read_from_each_of_its_forms(request_text: str) -> None:
    assert read_request(request_text) == InputRequested(request_text, "i1", ACTIONS)


def test_arguments_under_their_older_name_are_read() -> None:
    value = {"action_requests": [{"name": "ls", "arguments": {"path": "/"}}]}
    assert read_request(f"[Interrupt(value={value!r}, id='x')]").actions == (
        InputAction("ls", '{"path": "/"}'),
    )


def test_several_interrupts_have_their_actions_and_no_single_id() -> None:
    text = f"[Interrupt(value={VALUE!r}, id='1'), Interrupt(value={VALUE!r}, id='2')]"
    assert read_request(text) == InputRequested(text, "", ACTIONS + ACTIONS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "[]",
        "()",
        "yes or no?",
        "[Interrupt(value='Which one?'",
        "[Interrupt(value=<object at 0x7f>)]",
        "[Interrupt(value={'action_requests': 'all'})]",
        "[Interrupt(value={'action_requests': [1, None], 'review_configs': {}})]",
        "\ud800",
        "[" * 100_000,
        '["a", 1, null]',
        '["\ud800"]',
        '{"value": {"action_requests": [{"name": "ls"}]}}',
    ],
)
def test_a_request_of_another_form_has_no_actions(text: str) -> None:
    assert read_request(text) == InputRequested(text)


def test_a_request_with_lone_surrogates_is_read() -> None:
    action = {"name": "ls", "args": {"path": "/\ud800"}, "description": "\ud800?"}
    text = json.dumps([{"value": {"action_requests": [action]}, "id": "i1"}], ensure_ascii=False)
    assert read_request(text).actions == (InputAction("ls", r'{"path": "/\ud800"}', "\ud800?"),)


def test_members_that_are_not_texts_are_empty() -> None:
    value = {"action_requests": [{"name": 3, "args": None, "description": ["x"]}]}
    assert read_request(f"[Interrupt(value={value!r}, id=None)]").actions == (InputAction("", "null"),)


@pytest.mark.parametrize("arguments", ["nan", "[" * 70 + "]" * 70, "<object at 0x7f>"])
def test_arguments_that_json_does_not_have_are_kept_as_text_or_left_out(arguments: str) -> None:
    text = f"[Interrupt(value={{'action_requests': [{{'name': 'ls', 'args': {arguments}}}]}}, id='1')]"
    for action in read_request(text).actions:
        assert action.arguments == "" or isinstance(json.loads(action.arguments), str | list)


def test_a_request_above_the_limit_is_only_kept() -> None:
    value = {"action_requests": [{"name": "write_file", "args": {"text": "x" * (1 << 20)}}]}
    text = f"[Interrupt(value={value!r}, id='1')]"
    assert read_request(text) == InputRequested(text)
