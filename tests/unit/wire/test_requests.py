from __future__ import annotations

import pkgutil
from datetime import UTC, datetime
from importlib import import_module
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server import wire
from server.domain.errors import InvalidArgument, NotFound, Unprocessable
from server.domain.model import CreateWorkflow, ProposalStatus, Resolution, StartRefinement, Workflow
from server.domain.proposals.store import ProposalFilter
from server.wire import messages as m
from server.wire.agent_definition import DEFAULT_DEFINITION, MAX_DEPTH
from server.wire.agui_input import RunAgentInput
from server.wire.agui_resume import ResumeEntry
from server.wire.event_queries import EventsQuery, events_query, parse_cursor
from server.wire.pages import PageQuery, page_values
from server.wire.proposal_queries import ProposalsQuery, proposals_query
from server.wire.refinements import StartRefinementRequest
from server.wire.refinements import start_refinement as start_from_message
from server.wire.validation import QueryModel, RequestModel, uuid_or_not_found
from server.wire.workflows import MAX_FILES, MAX_FILES_BYTES, CreateWorkflowRequest, workflow_message
from server.wire.workflows import create_workflow as workflow_from_message

WORKFLOW = UUID(int=7)
PROMPT = {"user_prompt": "Add web search"}


def start(body: object) -> StartRefinement:
    return StartRefinementRequest.model_validate(body).command(WORKFLOW)


def create(body: object) -> CreateWorkflow:
    return CreateWorkflowRequest.model_validate(body).command()


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def wrong_fields(body: object) -> set[str]:
    with pytest.raises(InvalidArgument) as caught:
        start(body)
    assert type(caught.value) is InvalidArgument
    return set(caught.value.fields)


def test_a_full_start_becomes_its_command() -> None:
    body = {**PROMPT, "context_file_path": "/a.md", "context_selection": "lines 10-25"}
    assert start(body) == StartRefinement(WORKFLOW, "Add web search", "/a.md", "lines 10-25")


@pytest.mark.parametrize("nothing", [None, ""])
def test_an_absent_null_or_empty_context_is_none(nothing: str | None) -> None:
    body = {**PROMPT, "context_file_path": nothing, "context_selection": nothing}
    assert start(body) == StartRefinement(WORKFLOW, "Add web search")
    assert start(PROMPT) == StartRefinement(WORKFLOW, "Add web search")


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ([], {"body"}),
        (None, {"body"}),
        ("text", {"body"}),
        ({}, {"user_prompt"}),
        ({"user_prompt": None}, {"user_prompt"}),
        ({"user_prompt": ""}, {"user_prompt"}),
        ({"user_prompt": " \n"}, {"user_prompt"}),
        ({"user_prompt": 5}, {"user_prompt"}),
        ({"user_prompt": ["a"]}, {"user_prompt"}),
        ({"user_prompt": True}, {"user_prompt"}),
        ({"user_prompt": "a" * 65_537}, {"user_prompt"}),
        ({"user_prompt": "a\0"}, {"user_prompt"}),
        ({"user_prompt": "a\ud800"}, {"user_prompt"}),
        ({**PROMPT, "context_file_path": "a" * 1025}, {"context_file_path"}),
        ({**PROMPT, "context_file_path": 1}, {"context_file_path"}),
        ({**PROMPT, "context_selection": "10-25"}, {"context_selection"}),
        ({**PROMPT, "context_selection": "lines 10"}, {"context_selection"}),
        ({**PROMPT, "context_selection": "line 1-2"}, {"context_selection"}),
        ({**PROMPT, "context_selection": "lines -1-2"}, {"context_selection"}),
        ({**PROMPT, "context_selection": "lines 1-2\n"}, {"context_selection"}),
        ({**PROMPT, "context_selection": "lines ١-٢"}, {"context_selection"}),
        ({**PROMPT, "context_selection": "line " + "1" * 5000}, {"context_selection"}),
        ({**PROMPT, "colour": 1}, {"colour"}),
        ({**PROMPT, "a\ud800": 1}, {"a\ufffd"}),
        (
            {"user_prompt": "", "context_file_path": 1, "context_selection": "x", "y": 0},
            {"user_prompt", "context_file_path", "context_selection", "y"},
        ),
    ],
)
def test_each_wrong_field_of_a_start_is_named(body: object, fields: set[str]) -> None:
    assert wrong_fields(body) == fields


def test_the_limits_themselves_are_allowed() -> None:
    body = {"user_prompt": "😀" * 65_536, "context_file_path": "é" * 1024, "context_selection": "lines 1-1"}
    assert start(body).user_prompt == body["user_prompt"]


@pytest.mark.parametrize("selection", ["lines 25-10", "line 0", "lines 0-5", "lines 0-0"])
def test_a_selection_that_is_not_a_range_cannot_be_processed(selection: str) -> None:
    with pytest.raises(Unprocessable) as caught:
        start({**PROMPT, "context_selection": selection})
    assert set(caught.value.fields) == {"context_selection"}


def test_values_are_never_repeated_in_the_text() -> None:
    with pytest.raises(InvalidArgument) as caught:
        start({"user_prompt": "secret\0", "context_selection": "secret", "x": "secret"})
    assert "secret" not in str(caught.value)


def test_every_body_refuses_members_that_it_does_not_have() -> None:
    for module in pkgutil.iter_modules(wire.__path__):
        import_module(f"server.wire.{module.name}")
    # AG-UI's clients send members for other agents, too.
    open_ones = (QueryModel, RunAgentInput, ResumeEntry)
    bodies = [each for each in RequestModel.__subclasses__() if each not in open_ones]
    assert len(bodies) > 15
    for body in bodies:
        with pytest.raises(InvalidArgument) as caught:
            body.model_validate({"owner_user_id": "x"})
        assert "owner_user_id" in caught.value.fields, body


def test_a_hundred_thousand_unknown_fields_are_not_all_repeated() -> None:
    assert len(wrong_fields({**PROMPT, **{f"{n}" * 200: 0 for n in range(1000)}})) <= 20


def test_a_message_and_json_give_the_same_command() -> None:
    message = m.StartRefinementRequest(
        workflow_id=str(WORKFLOW),
        user_prompt="Add web search",
        context_file_path="/a",
        context_selection="line 3",
    )
    body = {**PROMPT, "context_file_path": "/a", "context_selection": "line 3"}
    assert start_from_message(message) == start(body)


def test_a_message_with_wrong_fields_is_refused_as_json_is() -> None:
    with pytest.raises(InvalidArgument) as caught:
        start_from_message(m.StartRefinementRequest(workflow_id=str(WORKFLOW), context_selection="x"))
    assert set(caught.value.fields) == {"user_prompt", "context_selection"}


@pytest.mark.parametrize(
    "text", ["", "x", "{" + str(WORKFLOW) + "}", WORKFLOW.hex, f"urn:uuid:{WORKFLOW}", None, 7]
)
def test_an_id_that_is_not_a_uuid_is_not_found(text: object) -> None:
    with pytest.raises(NotFound):
        uuid_or_not_found(text, "workflow")


def test_a_uuid_is_read_in_either_case() -> None:
    text = "0198C0DE-0000-7000-8000-00000000ABCD"
    assert uuid_or_not_found(text, "workflow") == uuid_or_not_found(text.lower(), "workflow") == UUID(text)


# --- Workflows -------------------------------------------------------------------------------


def test_a_full_workflow_becomes_its_command_from_both_forms() -> None:
    definition: dict[str, Any] = {"nodes": [{"id": 1, "weight": 0.5, "on": True, "off": None}], "n": 2**53}
    body = {"name": "W", "agent_definition": definition, "files": {"/a": "x", "/b": ""}}
    message = m.CreateWorkflowRequest(
        name="W", files=[m.SpecFile(path="/a", text="x"), m.SpecFile(path="/b")]
    )
    message.agent_definition.update(definition)
    command = create(body)
    from_message = workflow_from_message(message)
    assert command == from_message
    assert command.agent_definition == definition
    assert isinstance(from_message.agent_definition["nodes"][0]["id"], int)


@pytest.mark.parametrize("body", [{"name": "W"}, {"name": "W", "agent_definition": {}, "files": None}])
def test_a_workflow_without_a_definition_gets_the_default(body: object) -> None:
    command = create(body)
    assert command.agent_definition == DEFAULT_DEFINITION
    assert workflow_from_message(m.CreateWorkflowRequest(name="W")) == command
    assert len(DEFAULT_DEFINITION["nodes"]) == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "n" * 201}, "name"),
        ({"name": None}, "name"),
        ({"agent_definition": []}, "agent_definition"),
        ({"agent_definition": "x"}, "agent_definition"),
        ({"agent_definition": {"a": "\0"}}, "agent_definition"),
        ({"agent_definition": {"\ud800": [1]}}, "agent_definition"),
        ({"agent_definition": {"a": float("nan")}}, "agent_definition"),
        ({"agent_definition": {"a": "x" * 262_144}}, "agent_definition"),
        ({"agent_definition": nested(MAX_DEPTH + 1)}, "agent_definition"),
        ({"agent_definition": nested(50_000)}, "agent_definition"),
        ({"files": []}, "files"),
        ({"files": {"a": "x"}}, "files"),
        ({"files": {"": "x"}}, "files"),
        ({"files": {"/" + "a" * 1024: "x"}}, "files"),
        ({"files": {"/a\0": "x"}}, "files"),
        ({"files": {"/a\ud800": "x"}}, "files"),
        ({"files": {"/a": 5}}, "files"),
        ({"files": {"/a": "\0"}}, "files"),
        ({"files": {"/a": "\ud800"}}, "files"),
        ({"files": {f"/{n}": "" for n in range(501)}}, "files"),
        ({"files": {"/a": "x" * 1024 * 1024, "/b": "é" * 512 * 1024 + "x"}}, "files"),
        ({"id": "x"}, "id"),
    ],
    ids=range(23),
)
def test_each_wrong_field_of_a_workflow_is_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        create({"name": "W", **change})
    assert set(caught.value.fields) == {field}


def test_a_definition_at_its_deepest_fits_into_a_message() -> None:
    command = create({"name": "W", "agent_definition": nested(MAX_DEPTH)})
    page = m.ListWorkflowsResponse()
    page.workflows.add().agent_definition.update(command.agent_definition)
    assert m.ListWorkflowsResponse.FromString(page.SerializeToString()) == page


def test_the_largest_workflow_fits_what_clients_accept_by_default() -> None:
    paths = [f"/{n:03}/" + "/".join(["x" * 200] * 5) for n in range(MAX_FILES)]
    text = "x" * (MAX_FILES_BYTES // MAX_FILES)
    definition = {"zeros": [0] * 87_000}
    command = create({"name": "n" * 200, "agent_definition": definition, "files": dict.fromkeys(paths, text)})
    with pytest.raises(Unprocessable):
        create({"name": "n", "agent_definition": {"zeros": [0] * 88_000}})
    ids = [UUID(int=n) for n in range(3)]
    now = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    workflow = Workflow(ids[0], command.name, ids[1], command.agent_definition, ids[2], now, command.files)
    answer = m.GetWorkflowResponse(workflow=workflow_message(workflow))
    assert 3 << 20 < answer.ByteSize() < 4 << 20


def test_a_path_twice_in_a_message_is_refused() -> None:
    files = [m.SpecFile(path="/a"), m.SpecFile(path="/a")]
    with pytest.raises(InvalidArgument) as caught:
        workflow_from_message(m.CreateWorkflowRequest(name="W", files=files))
    assert "duplicate" in caught.value.fields["files"]


def test_infinity_in_a_message_is_refused() -> None:
    message = m.CreateWorkflowRequest(name="W")
    message.agent_definition.update({"a": float("inf")})
    with pytest.raises(InvalidArgument):
        workflow_from_message(message)


# --- Pages -----------------------------------------------------------------------------------


def page(values: dict[str, Any]) -> tuple[int, str | None]:
    found = PageQuery.model_validate(values)
    return found.size, found.cursor


def events(query: EventsQuery) -> tuple[int, int, int]:
    return query.after, query.size, query.wait


def test_pages_have_defaults_and_limits() -> None:
    assert page({}) == (50, None)
    assert page({"limit": "200", "cursor": "x"}) == (200, "x")
    assert page(page_values(m.ListWorkflowsRequest())) == (50, None)
    assert events(EventsQuery.model_validate({})) == (0, 100, 0)
    assert events(EventsQuery.model_validate({"after": "7", "limit": "1000", "wait": "25"})) == (7, 1000, 25)
    assert events(events_query(m.ListEventsRequest(after_seq=7))) == (7, 100, 0)
    assert parse_cursor(None, "Last-Event-ID") == 0


@pytest.mark.parametrize("number", ["-1", "1.0", "", " 1", "+1", "x", "٣", "1" * 11])
def test_a_value_that_is_not_a_whole_number_is_named(number: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        EventsQuery.model_validate({"after": number, "limit": number, "wait": number})
    assert set(caught.value.fields) == {"after", "limit", "wait"}


def test_numbers_above_their_limit_are_named() -> None:
    with pytest.raises(InvalidArgument) as caught:
        events_query(m.ListEventsRequest(limit=1001, wait_seconds=26))
    assert set(caught.value.fields) == {"limit", "wait_seconds"}
    with pytest.raises(InvalidArgument):
        parse_cursor(str(2**32), "Last-Event-ID")
    with pytest.raises(InvalidArgument):
        page(page_values(m.ListWorkflowsRequest(page_size=201)))


def test_proposals_are_filtered_alike_from_both_forms() -> None:
    query = {"workflow_id": str(WORKFLOW), "status": "failed", "text": "a", "limit": "3"}
    message = m.ListProposalsRequest(
        workflow_id=str(WORKFLOW), status=m.ProposalStatus.PROPOSAL_STATUS_FAILED, text="a", page_size=3
    )
    expected = ProposalsQuery.model_construct(
        limit=3, cursor=None, workflow_id=WORKFLOW, status=ProposalStatus.FAILED, text="a"
    )
    assert ProposalsQuery.model_validate(query) == proposals_query(message) == expected
    for word, decided, only in (
        ("accepted", {"resolution": m.RESOLUTION_ACCEPTED}, ProposalFilter(resolution=Resolution.ACCEPTED)),
        ("rejected", {"resolution": m.RESOLUTION_REJECTED}, ProposalFilter(resolution=Resolution.REJECTED)),
        ("none", {"unresolved": True}, ProposalFilter(unresolved=True)),
    ):
        assert ProposalsQuery.model_validate({"resolution": word}).filter == only
        assert proposals_query(m.ListProposalsRequest(**decided)).filter == only  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument) as caught:
        proposals_query(m.ListProposalsRequest(resolution=m.RESOLUTION_ACCEPTED, unresolved=True))
    assert set(caught.value.fields) == {"unresolved"}


def test_wrong_filters_are_named() -> None:
    with pytest.raises(InvalidArgument) as caught:
        ProposalsQuery.model_validate({"workflow_id": "x", "status": "x", "limit": "x", "resolution": "x"})
    assert set(caught.value.fields) == {"workflow_id", "status", "limit", "resolution"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3),
    max_leaves=10,
)
KEYS = st.sampled_from(
    ["user_prompt", "context_file_path", "context_selection", "name", "agent_definition", "files", "x"]
)


@given(JSON | st.dictionaries(KEYS, JSON))
def test_any_json_is_a_command_or_a_named_mistake(body: object) -> None:
    for make in (lambda: start(body), lambda: create(body)):
        mistakes = {"none": "none"}
        try:
            make()
        except InvalidArgument as wrong:
            mistakes = wrong.fields
        assert mistakes
        str(mistakes).encode()
