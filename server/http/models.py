"""The JSON bodies as types, for the OpenAPI document alone.

What is sent is made by `server.wire.resources` and `server.wire.rendering`; a contract test holds that
both have the same members.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

Status = Literal["processing", "awaiting_input", "completed", "failed", "cancelled"]


@dataclass
class Problem:
    """Problem details (RFC 9457). `code` is stable; `error` is the seed's short text."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    trace_id: str
    error: str


@dataclass
class FieldProblem(Problem):
    """With `fields`: each wrong field's name, and what is wrong with it."""

    fields: dict[str, str]


@dataclass
class CursorProblem(Problem):
    """With the lowest seq that is kept and the highest there is."""

    floor: int
    last_seq: int


@dataclass
class NotReady(Problem):
    """With the names of the checks that fail."""

    failing: list[str]


@dataclass
class Failure:
    """Why a run did not complete: a stable code and a sentence."""

    reason: str
    message: str


@dataclass
class File:
    """A file in the seed's form: `content` is a list of lines, or base64 in one string when binary."""

    content: list[str] | str
    encoding: str | None = None
    created_at: str | None = None
    modified_at: str | None = None


@dataclass
class RejectedFile:
    """A file that the run made and that may not leave as a file, because of its path; `reason` is stable."""

    path: str
    reason: str


@dataclass
class StartedRefinement:
    """The seed's answer to a start."""

    proposal_id: UUID
    thread_id: UUID
    status: Literal["processing"]
    websocket_url: str
    created_at: datetime


@dataclass
class Ticket:
    """Good once, for this thread, until `expires_at`; `websocket_url` carries it."""

    ticket: str
    thread_id: UUID
    expires_at: datetime
    websocket_url: str


@dataclass
class Refinement:
    """A request and the run that carries it out."""

    thread_id: UUID
    proposal_id: UUID
    workflow_id: UUID
    status: Status
    epoch: int
    last_seq: int
    floor: int
    created_at: datetime
    completed_at: datetime | None
    failure: Failure | None
    websocket_url: str
    events_url: str


@dataclass
class Proposal:
    """The result of a refinement. `generated_files` and `rejected_files` are null before the run is over,
    and in lists."""

    id: UUID
    draft_id: UUID
    workflow_id: UUID
    thread_id: UUID
    status: Status
    user_prompt: str
    context_file_path: str | None
    context_selection: str | None
    generated_files: dict[str, File] | None
    rejected_files: list[RejectedFile] | None
    file_count: int
    created_at: datetime
    completed_at: datetime | None
    created_by_user_id: UUID
    resolved_by_user_id: UUID | None
    resolved_at: datetime | None
    failure: Failure | None


@dataclass
class ProposalPage:
    """A page of proposals; `next_cursor` is null on the last one."""

    items: list[Proposal]
    next_cursor: str | None


AccessType = Literal["owner", "editor", "viewer"]


@dataclass
class Grant:
    """One user's access to a proposal."""

    proposal_id: UUID
    user_id: UUID
    access_type: AccessType
    email: str | None
    granted_at: datetime


@dataclass
class Grants:
    """Who has access, owners first."""

    items: list[Grant]


@dataclass
class ShareLink:
    """Shows a proposal to anyone who brings `secret` as a bearer token, and of its events those behind
    `after_seq`. `secret` is told once, when the link is made, else null."""

    id: UUID
    proposal_id: UUID
    thread_id: UUID
    after_seq: int
    created_by_user_id: UUID
    created_at: datetime
    expires_at: datetime
    secret: str | None
    proposal_url: str
    websocket_url: str
    events_url: str


@dataclass
class ShareLinks:
    """The links that are good now, newest first."""

    items: list[ShareLink]


@dataclass
class Workflow:
    """What is refined; `files` maps path to text and is empty in lists."""

    id: UUID
    name: str
    owner_user_id: UUID
    agent_definition: dict[str, Any]
    current_draft_id: UUID
    created_at: datetime
    files: dict[str, str]


@dataclass
class WorkflowPage:
    """A page of workflows; `next_cursor` is null on the last one."""

    items: list[Workflow]
    next_cursor: str | None


@dataclass
class EventPage:
    """A page of events, each the proto-JSON of `ide_orchestrator.v1.Event`. `next_cursor` is the
    `after` of the next page; when `complete`, there is none."""

    items: list[dict[str, Any]]
    next_cursor: int
    complete: bool
    epoch: int
    last_seq: int
    floor: int


@dataclass
class Health:
    """The process lives."""

    status: Literal["ok"]


@dataclass
class Ready:
    """The replica can serve."""

    status: Literal["ok"]
    failing: list[str]
