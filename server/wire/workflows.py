"""Workflows on the wire: the request that creates one, the contract's message, JSON of the HTTP interface."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

import msgspec
from pydantic import Field, PlainValidator

from server.domain import model
from server.domain.drafts.draft import DraftFile
from server.domain.errors import InvalidArgument, Unprocessable
from server.domain.proposals.paths import strict_fault
from server.encoding.json_object import values_of
from server.encoding.json_text import dump, replace_surrogates
from server.wire import messages as m
from server.wire.agent_definition import DEFAULT_DEFINITION, definition_error, definition_of
from server.wire.draft_files import left_out, text_json_parts
from server.wire.large_proposals import MAX_RESPONSE_BYTES, drop_last
from server.wire.limits import limits_of
from server.wire.pages import CURSOR_TEXT, WORKFLOWS_CURSOR, PageQuery
from server.wire.text import dumps, model_of, set_time
from server.wire.validation import (
    MAX_PATH,
    NOT_BLANK,
    NOT_BLANK_PATTERN,
    STORABLE,
    STORABLE_PATTERN,
    RequestModel,
    character_error,
    field_error,
)

MAX_NAME = limits_of(m.CreateWorkflowRequest, "name").max_characters
MAX_FILES = limits_of(m.CreateWorkflowRequest, "files").max_items
MAX_FILES_BYTES = 2 * 1024 * 1024


# --- Requests --------------------------------------------------------------------------------


def path_error(path: object) -> str | None:
    """What is wrong with a path of a request; None if nothing."""
    if not isinstance(path, str):
        return "must be a string"
    if not path.strip():
        return "must not be empty"
    if len(path) > MAX_PATH:
        return f"must have at most {MAX_PATH} characters"
    return character_error(path) or (None if path.startswith("/") else "must start with `/`")


def _validate_files(value: object) -> dict[str, str]:
    """Files by path. A message gives a tuple of pairs, in which a path may occur twice."""
    if value is None:
        return {}
    pairs = tuple(value.items()) if isinstance(value, Mapping) else value
    if not isinstance(pairs, tuple):
        raise field_error("must be an object that maps paths to texts")
    if len(pairs) > MAX_FILES:
        raise field_error(f"must be at most {MAX_FILES} files")
    files: dict[str, str] = {}
    for index, (path, text) in enumerate(pairs):
        wrong = _file_error(path, text, files)
        if wrong is not None:
            raise field_error(wrong.format(index))
        files[path] = text
    if sum(len(text.encode()) for text in files.values()) > MAX_FILES_BYTES:
        raise field_error(f"must have at most {MAX_FILES_BYTES} bytes together")
    return files


def _file_error(path: object, text: object, files: Mapping[str, str]) -> str | None:
    """What is wrong with a file that comes after `files`, with `{}` for its index; None if nothing."""
    wrong = path_error(path) or ("is a duplicate" if path in files else None)
    if wrong is not None:
        return f"the path of file {{}} {wrong}"
    wrong = character_error(text) if isinstance(text, str) else "must be a string"
    return None if wrong is None else f"the text of file {{}} {wrong}"


_Text = Annotated[str, Field(json_schema_extra=STORABLE_PATTERN)]
#: Texts by path, of a request that writes files.
FilesByPath = Annotated[
    dict[str, str],
    PlainValidator(_validate_files, json_schema_input_type=dict[str, _Text] | None),
    Field(
        description="Path, starting with `/`, to text.",
        json_schema_extra={
            "maxProperties": MAX_FILES,
            "propertyNames": {"pattern": "^/[^\\u0000]*$", "maxLength": MAX_PATH},
        },
    ),
]


class CreateWorkflowRequest(RequestModel):
    """A workflow to create, with its first draft."""

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_NAME,
            description="The workflow's name.",
            json_schema_extra=NOT_BLANK_PATTERN,
        ),
        NOT_BLANK,
        STORABLE,
    ]
    agent_definition: Annotated[
        dict[str, Any] | None, Field(description="For the runtime. By default, one agent that edits files.")
    ] = None
    files: FilesByPath = Field(default_factory=dict)

    def command(self) -> model.CreateWorkflow:
        """The command. Raises Unprocessable for a definition that cannot be stored, and for a path that is
        not valid on every system."""
        definition = self.agent_definition or DEFAULT_DEFINITION
        wrong = definition_error(definition)
        if wrong is not None:
            raise Unprocessable({"agent_definition": wrong})
        fault = strict_fault(list(self.files))
        if fault is not None:
            index = list(self.files).index(fault[0])
            raise Unprocessable({"files": f"the path of file {index} is not portable: {fault[1]}"})
        return model.CreateWorkflow(self.name, definition, self.files)


class UpdateWorkflowRequest(RequestModel):
    """What is to become of a workflow. What is left out stays as it is."""

    locked: Annotated[bool | None, Field(description="Whether it is to be locked.")] = None
    archived: Annotated[bool | None, Field(description="Whether it is to be archived.")] = None

    def command(self) -> model.UpdateWorkflow:
        """The command. Raises InvalidArgument when it changes nothing."""
        if self.locked is None and self.archived is None:
            raise InvalidArgument({"locked": "is missing: say whether to lock or to archive"})
        return model.UpdateWorkflow(self.locked, self.archived)


class WorkflowsQuery(PageQuery):
    """Which page of the caller's workflows."""

    cursor: Annotated[str | None, Field(description=CURSOR_TEXT, json_schema_extra=WORKFLOWS_CURSOR)] = None


def create_workflow(request: m.CreateWorkflowRequest) -> model.CreateWorkflow:
    """The command of a message. Raises InvalidArgument, Unprocessable."""
    values = {
        "name": request.name,
        "agent_definition": definition_of(request.agent_definition),
        "files": tuple((file.path, file.text) for file in request.files),
    }
    return CreateWorkflowRequest.model_validate(values).command()


def update_workflow(request: m.UpdateWorkflowRequest) -> model.UpdateWorkflow:
    """The command of a message. Raises InvalidArgument."""
    values = {name: getattr(request, name) for name in ("locked", "archived") if request.HasField(name)}
    return UpdateWorkflowRequest.model_validate(values).command()


# --- Messages --------------------------------------------------------------------------------


def workflow_message(workflow: model.Workflow) -> m.Workflow:
    """A workflow with what the record has, its files in path order (contract: Workflow)."""
    message = m.Workflow(
        id=str(workflow.id),
        name=workflow.name,
        owner_user_id=str(workflow.owner_user_id),
        current_draft_id=str(workflow.current_draft_id),
        locked=workflow.locked,
        archived=workflow.archived,
    )
    # A look at the definition reads its text: one is enough.
    if definition := values_of(workflow.agent_definition):
        message.agent_definition.update(definition)
    set_time(message.create_time, workflow.created_at)
    for path in sorted(workflow.files):
        message.files.add(path=path, text=replace_surrogates(workflow.files[path]))
    return message


def fit_workflow(workflow: model.Workflow, files: Mapping[str, DraftFile]) -> m.GetWorkflowResponse:
    """The response with a workflow and the texts among its draft's files: texts are left out, the largest
    first, and then last files, so that it fits."""
    message = workflow_message(workflow)
    omitted = left_out(files)
    for path in sorted(files):
        if path in omitted:
            if files[path].is_text:
                message.files.add(path=path, content_omitted=True)
        elif (text := files[path].text) is not None:
            message.files.add(path=path, text=replace_surrogates(text))
    excess = message.ByteSize() - MAX_RESPONSE_BYTES
    for file in sorted(message.files, key=lambda file: len(file.text), reverse=True):
        if excess <= 0 or not file.text:
            break
        excess -= len(file.text.encode())
        file.ClearField("text")
        file.content_omitted = True
    drop_last(message.files, message.ByteSize() - MAX_RESPONSE_BYTES, least=0)
    return m.GetWorkflowResponse(workflow=message)


def workflows_message(page: model.Page) -> m.ListWorkflowsResponse:
    """A page of workflows."""
    return m.ListWorkflowsResponse(
        workflows=map(workflow_message, page.items), next_page_token=page.next_token or ""
    )


# --- JSON ------------------------------------------------------------------------------------


class Workflow(msgspec.Struct):
    """What refinements change. `files` maps path to text; a file that is not text is only in the draft. In
    lists, `agent_definition` is null and `files` is empty. One that is `locked` or `archived` is not
    changed."""

    id: UUID
    name: str
    owner_user_id: UUID
    agent_definition: dict[str, Any] | None
    current_draft_id: UUID
    created_at: datetime
    files: dict[str, str]
    locked: bool
    archived: bool

    @classmethod
    def of(cls, workflow: model.Workflow) -> Self:
        """The JSON of a record."""
        return model_of(
            cls,
            workflow,
            agent_definition=values_of(workflow.agent_definition) or None,
            files=dict(sorted(workflow.files.items())),
        )


def workflow_json_parts(
    workflow: model.Workflow, files: Mapping[str, DraftFile], texts: Collection[str]
) -> Iterator[bytes]:
    """The JSON text of a workflow with the texts among its draft's files, in parts of bounded size that are
    made as they are asked for. texts: the paths of these (`text_paths`)."""
    # The last of them: the definition may have the same member. What follows are truth values.
    before, _, after = dumps(Workflow.of(workflow)).rpartition(b'"files":{}')
    return _with_texts(before, {path: files[path].content or b"" for path in sorted(texts)}, after)


def _with_texts(before: bytes, texts: Mapping[str, bytes], after: bytes) -> Iterator[bytes]:
    yield before + b'"files":{'
    comma = b""
    for path, content in texts.items():
        yield comma + dump(path) + b":"
        yield from text_json_parts(content)
        comma = b","
    yield b"}" + after


class WorkflowPage(msgspec.Struct):
    """A page of workflows, without definitions and files. `next_cursor` is null on the last page."""

    items: list[Workflow]
    next_cursor: str | None

    @classmethod
    def of(cls, page: model.Page) -> Self:
        """The JSON of a page."""
        return cls([Workflow.of(item) for item in page.items], page.next_token)
