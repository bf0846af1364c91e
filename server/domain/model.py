"""Ids and records of the hub, free of storage and transport.

Times are UTC-aware. A thread id is the run's id: the hub chooses it, and the runtime gets it as `job_id`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum, StrEnum
from typing import Any
from uuid import UUID

from server.domain.drafts.busy import WhenBusy
from server.domain.etags import strong_etag
from server.domain.proposals.files import File, ListedFile
from server.domain.proposals.partition import RejectedFile


class ProposalStatus(Enum):
    """The state of a proposal; the value is the word in the database and over HTTP."""

    QUEUED = "queued"
    PROCESSING = "processing"
    AWAITING_INPUT = "awaiting_input"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether the status is final."""
        return self in (ProposalStatus.COMPLETED, ProposalStatus.FAILED, ProposalStatus.CANCELLED)


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. `expires_at`: when the token expires, None if it never does.

    For a share link, `user_id` is the link's id, `created_by` its maker, `subject` is empty, and only events
    after `after_seq` are shown.
    """

    user_id: UUID
    subject: str
    email: str | None = None
    expires_at: datetime | None = None
    after_seq: int = 0
    created_by: UUID | None = None

    @property
    def quota_id(self) -> UUID:
        """Whose quotas count what the caller does: a share link is as good as who made it."""
        return self.created_by or self.user_id

    @property
    def memory_id(self) -> Hashable:
        """Whose share of the memory is used by what is read for the caller. All share links of a user have a
        share of their own, so that what their readers leave unread does not use up the user's."""
        return ("links", self.quota_id) if self.is_share_link else self.quota_id

    @property
    def is_share_link(self) -> bool:
        """Whether it is a share link, and no user."""
        return not self.subject


class FailureReason(StrEnum):
    """Why a run did not complete: all codes (ADR 0010, ADR 0013). Clients rely on the values."""

    #: A person cancelled the run, or its workflow was locked or archived while it was queued.
    CANCELLED = "cancelled"
    #: The runtime sent an error, or its state says that the run failed.
    UPSTREAM_ERROR = "upstream_error"
    #: The runtime no longer knows the run, or frames with the run's end or last files were lost.
    UPSTREAM_LOST = "upstream_lost"
    #: The runtime's stream brought no end and nothing else for too long.
    UPSTREAM_SILENT = "upstream_silent"
    #: The runtime says that the run completed, and shows no file.
    EMPTY_RESULT = "empty_result"
    #: The runtime answered the invoke with an error.
    RUNTIME_REFUSED = "runtime_refused"
    #: The runtime could not be reached for the invoke.
    RUNTIME_UNAVAILABLE = "runtime_unavailable"
    #: The invoke had no answer, and the runtime does not know the run.
    INVOKE_UNCERTAIN = "invoke_uncertain"
    #: The run's time is over.
    DEADLINE_EXCEEDED = "deadline_exceeded"
    #: The run's time is over, and the agent waits for a person.
    INPUT_NOT_GIVEN = "input_not_given"
    #: The runtime refused to continue the run with a person's answer.
    INPUT_REFUSED = "input_refused"
    #: Too many replicas in a row lost the run.
    CRASH_LOOP = "crash_loop"
    #: A fault of the hub.
    INTERNAL = "internal"


#: The runtime never accepted the run, and its start returned an error: the same request with the same
#: idempotency key starts a new run.
NOT_ACCEPTED = frozenset(
    {FailureReason.RUNTIME_REFUSED, FailureReason.RUNTIME_UNAVAILABLE, FailureReason.INVOKE_UNCERTAIN}
)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run did not complete: a stable code (`FailureReason`), and a message for people."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Workflow:
    """The subject of refinements. `agent_definition` and `files` (path to text) are empty in lists.

    draft_version: the version of the draft that the files are of; 1 in lists. A workflow that is locked or
    archived is not refined, and its draft is not changed. has_files: whether its draft has, or had, files
    that were not read.
    """

    id: UUID
    name: str
    owner_user_id: UUID
    agent_definition: Mapping[str, Any]
    current_draft_id: UUID
    created_at: datetime
    files: Mapping[str, str] = field(default_factory=dict)
    draft_version: int = 1
    locked: bool = False
    archived: bool = False
    has_files: bool = False


@dataclass(frozen=True, slots=True)
class Refinement:
    """A request and its run. `traceparent`: the trace that the run belongs to (W3C). waits_for_proposal_id:
    while it is queued, the proposal whose refinement must end before its run begins."""

    thread_id: UUID
    proposal_id: UUID
    workflow_id: UUID
    status: ProposalStatus
    epoch: int
    last_seq: int
    floor: int
    created_at: datetime
    completed_at: datetime | None = None
    failure: Failure | None = None
    traceparent: str = ""
    waits_for_proposal_id: UUID | None = None


class Resolution(Enum):
    """What was decided about a proposal; the value is the word in the database and over HTTP."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Proposal:
    """The result of a refinement.

    A share link is not shown who created and who resolved it, and why. `files`, or `listed_files` when
    contents were not asked for, their marks of `portability`, and `rejected_files` that are not among them
    (`server.domain.proposals.partition`) are empty before the terminal status and in lists. base_version: the
    version of the draft that the run started from. includes_base: whether the run worked on that version's
    files: one of them that is gone was deleted. draft_version: the draft's newest version. result_version:
    the one that accepting the proposal made. review_number: counts what was decided, at last at reviewed_at.
    revised_by_proposal_id: the newest proposal that revises this one and has not failed.
    waits_for_proposal_id: see `Refinement`. revised: whether any proposal revises this one, even one that has
    failed.
    """

    id: UUID
    draft_id: UUID
    workflow_id: UUID
    thread_id: str
    status: ProposalStatus
    user_prompt: str
    created_at: datetime
    created_by_user_id: UUID | None
    context_file_path: str | None = None
    context_selection: str | None = None
    completed_at: datetime | None = None
    resolved_by_user_id: UUID | None = None
    resolved_at: datetime | None = None
    failure: Failure | None = None
    file_count: int = 0
    base_version: int = 1
    includes_base: bool = False
    draft_version: int = 1
    resolution: Resolution | None = None
    resolution_comment: str | None = None
    result_version: int | None = None
    review_number: int = 0
    reviewed_at: datetime | None = None
    revises_proposal_id: UUID | None = None
    revised_by_proposal_id: UUID | None = None
    waits_for_proposal_id: UUID | None = None
    revised: bool = False
    files: Mapping[str, File] = field(default_factory=dict)
    listed_files: Mapping[str, ListedFile] = field(default_factory=dict)
    portability: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rejected_files: tuple[RejectedFile, ...] = ()

    @property
    def etag(self) -> str:
        """The strong etag of what is decided about it; also the end of its run changes it."""
        at = "" if self.reviewed_at is None else f"{self.reviewed_at.timestamp():.6f}"
        return strong_etag(self.review_number, self.id, self.status.value, self.review_number, at)

    def without_files(self) -> Proposal:
        """The same as in a list."""
        return replace(self, files={}, portability={}, rejected_files=())

    @property
    def awaits_review(self) -> bool:
        """Whether it can be accepted or rejected."""
        return self.status is ProposalStatus.COMPLETED and self.resolution is None

    @property
    def superseded(self) -> bool:
        """Whether it awaits review while another proposal revises it."""
        return self.awaits_review and self.revised_by_proposal_id is not None

    @property
    def stale(self) -> bool:
        """Whether it awaits review and the draft has changed since its run started."""
        return self.awaits_review and self.draft_version != self.base_version

    @property
    def shown_by_etag(self) -> bool:
        """Whether who has read it with the same etag has seen all that is shown now.

        The etag is that of what may be decided: what others do beside it changes other members. Each of these
        only ever leaves the value that it has here.
        """
        return not (
            self.stale
            or self.revised
            or self.waits_for_proposal_id is not None
            or (self.includes_base and not self.status.terminal)
        )


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list: `next_token` is None on the last one."""

    items: tuple[Any, ...]
    next_token: str | None = None


@dataclass(frozen=True, slots=True)
class StartRefinement:
    """The command to start a refinement; its fields are already validated. when_busy: None for the hub's
    default."""

    workflow_id: UUID
    user_prompt: str
    context_file_path: str | None = None
    context_selection: str | None = None
    when_busy: WhenBusy | None = None


@dataclass(frozen=True, slots=True)
class Revision:
    """What a refinement revises. prompt: what the agent is asked. check: raises when the proposal may not be
    revised as it is, also when it is stored. keep_decisions: whether its proposal starts with the decisions
    of the revised one."""

    proposal_id: UUID
    prompt: str
    check: Callable[[Proposal], None]
    keep_decisions: bool = False


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """Names a request of one caller on one route; `request_sha256` tells requests apart."""

    route: str
    key: str
    request_sha256: bytes

    @classmethod
    def of(cls, route: str, key: str, request: object) -> IdempotencyKey:
        """The key of a request, which is a JSON value."""
        text = json.dumps(request, sort_keys=True)
        return cls(route, key, hashlib.sha256(text.encode()).digest())


@dataclass(frozen=True, slots=True)
class CreateWorkflow:
    """The command to create a workflow; its fields are already validated."""

    name: str
    agent_definition: Mapping[str, Any]
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class UpdateWorkflow:
    """The command to lock or archive a workflow, or to undo that; None leaves it as it is."""

    locked: bool | None = None
    archived: bool | None = None
