"""Checks of request fields, the same for every face; the limits are those of the contract.

Everything wrong with a request is named at once: `InvalidArgument.fields` maps each field, spelled as
the contract spells it, to what is wrong. A selection such as `lines 25-10` is well-formed and still no
range: that is `Unprocessable`. Values of fields are never repeated in the texts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from server.domain.access.sharing import MAX_SHARE_LIFETIME, SHARE_LIFETIME, AccessType
from server.domain.errors import InvalidArgument, Unprocessable
from server.domain.model import CreateWorkflow, ProposalStatus, StartRefinement
from server.domain.proposals.files import File
from server.domain.proposals.paths import partition_files
from server.wire import messages as m
from server.wire.definition import check_definition, definition_of
from server.wire.fields import Fields, uuid_or_not_found, wrong_characters, wrong_text
from server.wire.resources import ACCESS_TYPE_OF, STATUS_OF

MAX_PROMPT = 65_536
MAX_PATH = 1_024
MAX_SELECTION = 64
MAX_NAME = 200
MAX_FILES = 500
MAX_FILES_BYTES = 2 * 1024 * 1024
MAX_SEQ = 0xFFFFFFFF
MAX_PAGE, DEFAULT_PAGE = 200, 50
MAX_EVENTS, DEFAULT_EVENTS = 1_000, 100
MAX_WAIT_S = 25
MAX_KEY = 255
MAX_ID = 36
MIN_SHARE_S = 60
MAX_SHARE_S, DEFAULT_SHARE_S = (
    round(lifetime.total_seconds()) for lifetime in (MAX_SHARE_LIFETIME, SHARE_LIFETIME)
)

T = TypeVar("T")

_SELECTION = re.compile(r"line (?P<only>[0-9]+)|lines (?P<first>[0-9]+)-(?P<last>[0-9]+)")
# --- Starting a refinement -------------------------------------------------------------------


def start_refinement(workflow_id: UUID, body: object) -> StartRefinement:
    """The command of a parsed JSON body. Raises InvalidArgument, Unprocessable."""
    fields = Fields()
    given = fields.json_object(body, ("user_prompt", "context_file_path", "context_selection"))
    return _start(
        fields,
        workflow_id,
        given.get("user_prompt"),
        given.get("context_file_path"),
        given.get("context_selection"),
    )


def start_refinement_message(request: m.StartRefinementRequest) -> StartRefinement:
    """The command of a message. Raises InvalidArgument, Unprocessable, NotFound."""
    workflow_id = uuid_or_not_found(request.workflow_id, "workflow")
    path, selection = request.context_file_path, request.context_selection
    return _start(Fields(), workflow_id, request.user_prompt, path, selection)


def ticket(body: object) -> UUID:
    """The thread that a ticket is asked for. Raises InvalidArgument, NotFound."""
    fields = Fields()
    given = fields.json_object(body, ("thread_id",))
    thread_id = fields.text("thread_id", given.get("thread_id"), MAX_ID)
    fields.check()
    return uuid_or_not_found(thread_id, "refinement")


def access_type(body: object) -> AccessType:
    """What a parsed JSON body grants. Raises InvalidArgument."""
    fields = Fields()
    given = fields.json_object(body, ("access_type",))
    word = fields.text("access_type", given.get("access_type"), MAX_ID)
    found = next((known for known in AccessType if known.value == word), None)
    if found is None:
        words = ", ".join(known.value for known in AccessType)
        fields.wrong.setdefault("access_type", f"must be one of {words}")
    fields.check()
    assert found is not None
    return found


def access_type_message(number: m.AccessType.ValueType) -> AccessType:
    """What a message grants. Raises InvalidArgument."""
    found = ACCESS_TYPE_OF.get(number)
    if found is None:
        raise InvalidArgument({"access_type": "must be a known type of access"})
    return found


@dataclass(frozen=True, slots=True)
class ShareArguments:
    """A share link to make: what it shows of the events begins behind `after_seq`."""

    after_seq: int
    lifetime: timedelta


def share_link(body: object) -> ShareArguments:
    """The link of a parsed JSON body. Raises InvalidArgument."""
    fields = Fields()
    given = fields.json_object(body, ("after_seq", "expires_in_s"))
    after = fields.integer("after_seq", given.get("after_seq"), 0, MAX_SEQ)
    seconds = fields.integer("expires_in_s", given.get("expires_in_s"), MIN_SHARE_S, MAX_SHARE_S)
    fields.check()
    return ShareArguments(after or 0, timedelta(seconds=seconds or DEFAULT_SHARE_S))


def share_link_message(request: m.CreateShareLinkRequest) -> ShareArguments:
    """The link of a message. Raises InvalidArgument."""
    fields = Fields()
    seconds = request.expires_in_seconds or DEFAULT_SHARE_S
    fields.integer("expires_in_seconds", seconds, MIN_SHARE_S, MAX_SHARE_S)
    fields.check()
    return ShareArguments(request.after_seq, timedelta(seconds=seconds))


def _start(
    fields: Fields, workflow_id: UUID, prompt: object, path: object, selection: object
) -> StartRefinement:
    user_prompt = fields.text("user_prompt", prompt, MAX_PROMPT)
    file_path = fields.text("context_file_path", path, MAX_PATH, needed=False)
    lines = fields.text("context_selection", selection, MAX_SELECTION, needed=False)
    no_range = False
    if lines is not None:
        match = _SELECTION.fullmatch(lines)
        if match is None:
            fields.wrong["context_selection"] = "must be `lines A-B` or `line A`"
        else:
            first = int(match["only"] or match["first"])
            no_range = not 1 <= first <= int(match["last"] or first)
    fields.check()
    if no_range:
        raise Unprocessable({"context_selection": "is no range: lines count from 1, the first one first"})
    return StartRefinement(workflow_id, user_prompt or "", file_path, lines)


# --- Making a workflow -----------------------------------------------------------------------


def create_workflow(body: object) -> CreateWorkflow:
    """The command of a parsed JSON body; `files` maps path to text. Raises InvalidArgument, Unprocessable for
    paths that not every system takes, and definitions that cannot be kept."""
    fields = Fields()
    given = fields.json_object(body, ("name", "agent_definition", "files"))
    files: Any = given.get("files")
    if files is None:
        files = {}
    if not isinstance(files, Mapping):
        fields.wrong["files"] = "must be an object of path to text"
        files = {}
    return _create(fields, given.get("name"), given.get("agent_definition"), list(files.items()))


def create_workflow_message(request: m.CreateWorkflowRequest) -> CreateWorkflow:
    """The command of a message. Raises InvalidArgument, Unprocessable."""
    files = [(file.path, file.text) for file in request.files]
    return _create(Fields(), request.name, definition_of(request.agent_definition), files)


def _create(
    fields: Fields, name: object, definition: object, files: Sequence[tuple[object, object]]
) -> CreateWorkflow:
    checked_name = fields.text("name", name, MAX_NAME)
    checked_definition, wrong = check_definition(definition)
    # An object is what the field takes; what stands inside it may still be more than can be kept.
    unfit = {"agent_definition": wrong} if wrong is not None and isinstance(definition, Mapping) else {}
    if wrong is not None and not unfit:
        fields.wrong["agent_definition"] = wrong
    wrong = _wrong_files(files)
    if wrong is not None:
        fields.wrong.setdefault("files", wrong)
    fields.check()
    if unfit:
        raise Unprocessable(unfit)
    made = {str(path): str(text) for path, text in files}
    _, rejected = partition_files({path: File(b"") for path in made})
    if rejected:
        place = list(made).index(rejected[0].path)
        wrong = f"the path of file {place} is not one that every system takes: {rejected[0].fault.value}"
        raise Unprocessable({"files": wrong})
    return CreateWorkflow(checked_name or "", checked_definition, made)


def _wrong_files(files: Sequence[tuple[object, object]]) -> str | None:
    if len(files) > MAX_FILES:
        return f"must be at most {MAX_FILES}"
    seen: set[str] = set()
    total = 0
    for place, (path, text) in enumerate(files):
        wrong = wrong_text(path, MAX_PATH, needed=True)
        if wrong is None and not str(path).startswith("/"):
            wrong = "must start with `/`"
        if wrong is None and path in seen:
            wrong = "is there twice"
        if wrong is not None:
            return f"the path of file {place} {wrong}"
        seen.add(str(path))
        if not isinstance(text, str):
            return f"the text of file {place} must be a string"
        wrong = wrong_characters(text)
        if wrong is not None:
            return f"the text of file {place} {wrong}"
        total += len(text.encode())
    if total > MAX_FILES_BYTES:
        return f"must have at most {MAX_FILES_BYTES} bytes together"
    return None


# --- Pages -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PageArguments:
    """Which page of a list: at most `limit` items, after `token` (None: the first page)."""

    limit: int
    token: str | None


@dataclass(frozen=True, slots=True)
class ProposalsArguments:
    """Which page of which proposals; None for no filter."""

    page: PageArguments
    workflow_id: UUID | None
    status: ProposalStatus | None


@dataclass(frozen=True, slots=True)
class EventsArguments:
    """Which events: behind `after`, at most `limit`, waiting at most `wait_s` for the first."""

    after: int
    limit: int
    wait_s: int


def page_query(query: Mapping[str, str]) -> PageArguments:
    """The page of `?limit=&cursor=`. Raises InvalidArgument."""
    return _checked(lambda fields: _page_query(fields, query))


def page_message(request: m.ListWorkflowsRequest) -> PageArguments:
    """The page of a message. Raises InvalidArgument."""
    return _checked(lambda fields: _page_message(fields, request))


def proposals_query(query: Mapping[str, str]) -> ProposalsArguments:
    """The page of `?limit=&cursor=&workflow_id=&status=`. Raises InvalidArgument."""
    fields = Fields()
    page = _page_query(fields, query)
    workflow_id = fields.uuid("workflow_id", query.get("workflow_id", ""))
    if query.get("workflow_id") == "":
        fields.wrong["workflow_id"] = "must be a UUID"
    word = query.get("status")
    status = next((known for known in ProposalStatus if known.value == word), None)
    if word is not None and status is None:
        fields.wrong["status"] = "must be one of " + ", ".join(known.value for known in ProposalStatus)
    fields.check()
    return ProposalsArguments(page, workflow_id, status)


def proposals_message(request: m.ListProposalsRequest) -> ProposalsArguments:
    """The page of a message. Raises InvalidArgument."""
    fields = Fields()
    page = _page_message(fields, request)
    workflow_id = fields.uuid("workflow_id", request.workflow_id)
    status = STATUS_OF.get(request.status)
    if request.status and status is None:
        fields.wrong["status"] = "must be a known status"
    fields.check()
    return ProposalsArguments(page, workflow_id, status)


def events_query(query: Mapping[str, str]) -> EventsArguments:
    """The events of `?after=&limit=&wait=`. Raises InvalidArgument."""
    return _checked(
        lambda fields: EventsArguments(
            fields.number("after", query.get("after"), MAX_SEQ),
            fields.number("limit", query.get("limit"), MAX_EVENTS) or DEFAULT_EVENTS,
            fields.number("wait", query.get("wait"), MAX_WAIT_S),
        )
    )


def events_message(request: m.ListEventsRequest) -> EventsArguments:
    """The events of a message. Raises InvalidArgument."""
    return _checked(
        lambda fields: EventsArguments(
            request.after_seq,
            fields.most("limit", request.limit, MAX_EVENTS) or DEFAULT_EVENTS,
            fields.most("wait_seconds", request.wait_seconds, MAX_WAIT_S),
        )
    )


def idempotency_key(text: str | None, name: str) -> str | None:
    """A key of the caller's choice; None when there is none. Raises InvalidArgument."""
    if text is None:
        return None
    if not 1 <= len(text) <= MAX_KEY or not all("!" <= character <= "~" for character in text):
        raise InvalidArgument({name: f"must be 1 to {MAX_KEY} visible ASCII characters"})
    return text


def cursor(text: str | None, name: str = "after") -> int:
    """The last seq that a reader has, out of a query or header; absent is 0. Raises InvalidArgument."""
    return _checked(lambda fields: fields.number(name, text, MAX_SEQ))


def _checked(make: Callable[[Fields], T]) -> T:
    fields = Fields()
    made = make(fields)
    fields.check()
    return made


def _page_query(fields: Fields, query: Mapping[str, str]) -> PageArguments:
    limit = fields.number("limit", query.get("limit"), MAX_PAGE) or DEFAULT_PAGE
    return PageArguments(limit, query.get("cursor"))


def _page_message(fields: Fields, request: m.ListWorkflowsRequest | m.ListProposalsRequest) -> PageArguments:
    limit = fields.most("page_size", request.page_size, MAX_PAGE) or DEFAULT_PAGE
    return PageArguments(limit, request.page_token or None)
