"""The JSON objects of the HTTP interface, as types. A test compares them with the hub's OpenAPI document.

Ids are UUIDs, times are RFC 3339 in UTC. A newer hub may add members, and values where a `str` is a stable
code.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

Status = Literal["queued", "processing", "awaiting_input", "completed", "failed", "cancelled"]
WhenBusy = Literal["parallel", "refuse", "enqueue", "supersede"]
Decision = Literal["accepted", "rejected"]


class Workflow(TypedDict):
    """A workflow with its draft's text files; `agent_definition` is None and `files` are empty in lists."""

    id: str
    name: str
    owner_user_id: str
    agent_definition: dict[str, Any] | None
    current_draft_id: str
    created_at: str
    files: dict[str, str]
    locked: bool
    archived: bool


class DraftFileFacts(TypedDict):
    """A file of a draft, without its content."""

    sha256: str
    size_bytes: int
    modified_at: str


class DraftFile(DraftFileFacts, total=False):
    """A file of a draft: `text`, or `base64` of a file that is not text."""

    text: str
    base64: str


class Draft(TypedDict):
    """A draft at a version. `etag` is the newest version's. `files` is None in lists and after writes."""

    id: str
    workflow_id: str
    version: int
    latest_version: int
    etag: str
    created_at: str
    created_by_user_id: str
    proposal_id: str | None
    restored_version: int
    files: dict[str, DraftFile] | None


class StartedRefinement(TypedDict):
    """A refinement that was started, or queued."""

    proposal_id: str
    thread_id: str
    status: Status
    websocket_url: str
    created_at: str


class Failure(TypedDict):
    """Why a run did not complete: a stable code and a sentence."""

    reason: str
    message: str


class Refinement(TypedDict):
    """A request and the run that carries it out."""

    thread_id: str
    proposal_id: str
    workflow_id: str
    status: Status
    epoch: int
    last_seq: int
    floor: int
    created_at: str
    completed_at: str | None
    failure: Failure | None
    waits_for_proposal_id: str | None
    websocket_url: str
    events_url: str


class DecidedAction(TypedDict):
    """The decision about an action of a question, in the agent's words: `approve`, `edit`, `reject`, or
    another that the action allows."""

    decision: str


class ActionDecision(DecidedAction, total=False):
    """A decision about an action. `edited_arguments`: with `edit`, the JSON text of all arguments.
    `message`: to the agent, if it does not call the tool."""

    edited_arguments: str
    message: str


class Ticket(TypedDict):
    """Opens one stream of a thread, once, until `expires_at`: for browsers, which cannot send a token."""

    ticket: str
    thread_id: str
    expires_at: str
    websocket_url: str
    events_url: str


class FileFacts(TypedDict):
    """A generated file, without its content."""

    sha256: str
    size_bytes: int


class File(FileFacts, total=False):
    """A generated file. `content` is its lines, or one line of base64: `encoding` says so."""

    content: list[str]
    encoding: str
    created_at: str
    modified_at: str
    portability: list[str]
    extra: dict[str, Any]


class RejectedFile(TypedDict):
    """A file of the run that is not among the generated files."""

    path: str
    reason: str
    sha256: str | None
    size_bytes: int | None


class Proposal(TypedDict):
    """The result of a refinement. `generated_files` and `rejected_files` are None until the run is over, in
    lists and after decisions."""

    id: str
    draft_id: str
    workflow_id: str
    thread_id: str
    status: Status
    user_prompt: str
    context_file_path: str | None
    context_selection: str | None
    generated_files: dict[str, File] | None
    rejected_files: list[RejectedFile] | None
    file_count: int
    created_at: str
    completed_at: str | None
    created_by_user_id: str | None
    resolved_by_user_id: str | None
    resolved_at: str | None
    failure: Failure | None
    base_version: int
    includes_base: bool
    resolution: Decision | None
    resolution_comment: str | None
    result_version: int | None
    etag: str
    revises_proposal_id: str | None
    revised_by_proposal_id: str | None
    waits_for_proposal_id: str | None
    superseded: bool
    stale: bool


class Hunk(TypedDict):
    """Lines that differ, as in a unified diff. `id` names the hunk in decisions."""

    id: str
    base_first_line: int
    base_line_count: int
    first_line: int
    line_count: int
    lines: list[str]
    truncated: bool
    decision: Decision | None


class FileDiff(TypedDict):
    """How a file differs, and what is decided about it."""

    path: str
    old_path: str | None
    kind: Literal["added", "modified", "deleted", "renamed"]
    base_sha256: str | None
    sha256: str | None
    base_size_bytes: int
    size_bytes: int
    binary: bool
    added_lines: int
    removed_lines: int
    hunks: list[Hunk]
    truncated: bool
    decision: Decision | None
    new_path: str | None
    needs_new_path: bool
    portability: list[str]
    rejection: str | None
    changed_in_draft: bool
    path_id: str | None


class DecidedFile(TypedDict):
    """A path, and the decision about it; None takes one back."""

    path: str
    decision: Decision | None


class FileDecision(DecidedFile, total=False):
    """A decision about a file, or about the hunks with these ids; `new_path` is the path that it comes in
    under. `path_id` is that of the file, where several have the path."""

    hunk_ids: list[str]
    new_path: str | None
    path_id: str | None


class ConflictPath(TypedDict):
    """The path of a file in conflict."""

    path: str


class ResolvedFile(ConflictPath, total=False):
    """What to use for a file in conflict: one of a text, the file of a side, and no file."""

    text: str
    side: Literal["base", "draft", "proposal"]
    deleted: bool


class DraftChange(TypedDict):
    """A file of the draft that accepting a proposal writes or deletes."""

    path: str
    kind: Literal["added", "modified", "deleted", "renamed"]
    sha256: str | None
    merged: bool


class TextRange(TypedDict):
    """Lines of a text, with their line ends. `first_line` counts from 1."""

    first_line: int
    line_count: int
    text: str


class ConflictPlace(TypedDict):
    """A place that both sides changed: its lines in each of the three texts."""

    base: TextRange
    draft: TextRange
    proposal: TextRange


class MergeConflict(TypedDict):
    """A file that both sides changed. Also in `conflicts` of the error `draft_moved`."""

    path: str
    kind: str
    base_sha256: str | None
    draft_sha256: str | None
    proposal_sha256: str | None
    places: list[ConflictPlace]
    truncated: bool


class AcceptedProposal(TypedDict):
    """A proposal that was accepted, and the draft with it, both without files; or what would be done."""

    proposal: Proposal
    draft: Draft
    changes: list[DraftChange]
    change_count: int
    conflicts: list[MergeConflict]
    conflict_count: int


class FileAt(TypedDict):
    """A file as it was after an event, and the event that wrote it last."""

    path: str
    sha256: str
    size_bytes: int
    binary: bool
    seq: int
    created_at: str | None
    tool_call_id: str | None


class ServerLimits(TypedDict):
    """Limits of requests and of one caller; 0 for no limit."""

    max_prompt_characters: int
    max_page_size: int
    max_events_page_size: int
    max_active_runs: int
    max_creates_per_minute: int
    max_streams: int


class GrpcEndpoint(TypedDict):
    """Where a hub is reached over gRPC. `host` is None for the host of the HTTP address."""

    host: str | None
    port: int
    tls: bool


class ServerInfo(TypedDict):
    """A hub: its version, what it offers, and the limits of one caller. `grpc` is None when it does not say
    where that is."""

    server_version: str
    features: list[str]
    when_busy: WhenBusy
    limits: ServerLimits
    grpc: GrpcEndpoint | None
