"""Answers to interrupts: which decisions they are, and what is wrong with others."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from server.domain.errors import HubError, InvalidArgument, NotFound
from server.domain.journal.events import InputAction, InputRequested
from server.domain.runs.replies import ActionDecision
from server.wire.agui_input import RunAgentInput
from server.wire.agui_resume import ResumeEntry, resume_of

THREAD = UUID("5b0f47f8-3c34-4b0e-9f0e-0123456789ab")
QUESTION = InputRequested("…", actions=(InputAction("write", "{}"), InputAction("delete", "{}")))


def answer(number: int, payload: Any = None, status: str = "resolved", **others: Any) -> dict[str, Any]:
    """An entry of `resume`."""
    return {"interruptId": f"{THREAD}:13:{number}", "status": status, "payload": payload, **others}


def entries(*resume: object) -> list[ResumeEntry]:
    """The entries of a request."""
    request = {"threadId": "t", "runId": "r", "messages": [], "resume": list(resume)}
    return RunAgentInput.model_validate(request).resume


def decisions(*resume: object) -> list[ActionDecision]:
    return resume_of(entries(*resume)).decisions(QUESTION)


def test_payloads_are_decisions_about_the_actions_in_their_order() -> None:
    for payload, expected in (
        ({"approved": True}, ActionDecision("approve")),
        ({"approved": True, "editedArgs": {"x": 1}}, ActionDecision("edit", '{"x": 1}')),
        ({"approved": True, "editedArgs": {}}, ActionDecision("edit", "{}")),
        ({"approved": False}, ActionDecision("reject")),
        ({"approved": False, "message": "No."}, ActionDecision("reject", message="No.")),
        ({"decision": "respond", "message": "Why?"}, ActionDecision("respond", message="Why?")),
    ):
        both = decisions(answer(2, {"approved": True}), answer(1, payload, metadata={"signature": "x"}))
        assert both == [expected, ActionDecision("approve")]


def test_what_nobody_decides_about_is_rejected() -> None:
    some = resume_of(entries(answer(1, status="cancelled"), answer(2, {"approved": True})))
    assert some.decisions(QUESTION) == [ActionDecision("reject"), ActionDecision("approve")]
    assert not some.cancelled
    assert resume_of(entries(answer(1, status="cancelled"), answer(2, status="cancelled"))).cancelled
    whole = resume_of(entries(answer(0, status="cancelled")))
    assert (whole.cancelled, whole.decisions(InputRequested("…"))) == (True, [])


def test_the_same_answers_have_the_same_key_and_others_another() -> None:
    def key(*resume: object) -> str:
        answers = resume_of(entries(*resume))
        return answers.key(answers.decisions(QUESTION))

    first, second = answer(1, {"approved": True}), answer(2, {"approved": True})
    assert key(first, second) == key(second, first)
    keys = {
        key(first, second),
        key(first, answer(2, {"approved": False})),
        key(first, answer(2, status="cancelled")),
    }
    # To cancel is to reject.
    assert len(keys) == 2


def test_a_request_may_have_no_answers() -> None:
    request: dict[str, Any] = {"threadId": "t", "runId": "r", "messages": []}
    for given in ({}, {"resume": None}, {"resume": []}):
        assert RunAgentInput.model_validate(request | given).resume == []


YES = {"approved": True}


@pytest.mark.parametrize(
    ("resume", "error", "text"),
    [
        ([answer(1, YES)], InvalidArgument, f"must answer every open interrupt: {THREAD}:13:2"),
        ([answer(1, YES), answer(2, YES), answer(3, YES)], InvalidArgument, "does not have"),
        ([answer(1, YES), answer(1, YES)], InvalidArgument, "twice"),
        ([answer(1, YES), answer(2, YES) | {"interruptId": f"{THREAD}:14:2"}], InvalidArgument, "of one run"),
        ([answer(1, YES) | {"interruptId": "input-13"}], NotFound, "no such interrupt"),
        ([answer(1, YES) | {"interruptId": f"{THREAD}:9999999999:1"}], NotFound, "no such interrupt"),
        ([answer(1)], InvalidArgument, "answer 0: payload: body: must be a JSON object"),
        ([answer(1, {})], InvalidArgument, "answer 0: payload: approved: is missing"),
        ([answer(1, {"approved": 1})], InvalidArgument, "answer 0: payload: approved"),
        ([answer(1, {"approved": True, "editedargs": {}})], InvalidArgument, "editedargs: is not a field"),
        ([answer(1, {"approved": True, "decision": "edit"})], InvalidArgument, "instead of approved"),
        (
            [answer(1, {"approved": True, "editedArgs": {"x": "x" * 262_144}})],
            InvalidArgument,
            "at most 262144",
        ),
        (["x"], InvalidArgument, "answer 0: body: must be a JSON object"),
        ([{"status": "resolved"}], InvalidArgument, "answer 0: interruptId: is missing"),
        ([answer(1, YES, "denied")], InvalidArgument, "answer 0: status"),
        ([answer(1, YES)] * 101, InvalidArgument, "at most 100"),
    ],
)
def test_answers_that_do_not_fit_are_refused_with_what_is_wrong(
    resume: list[Any], error: type[HubError], text: str
) -> None:
    with pytest.raises(error) as refused:
        decisions(*resume)
    assert text in str(refused.value)


def test_arguments_of_any_depth_are_refused_or_taken() -> None:
    deep: dict[str, Any] = {}
    for _ in range(200_000):
        deep = {"x": deep}
    with pytest.raises(InvalidArgument, match="levels"):
        decisions(answer(1, {"approved": True, "editedArgs": deep}))
