"""The tables that stores query with Piccolo. The migrations create them; a test compares the two.

Tables and views that only SQL uses, such as runs, events, contents and draft_callers, have no class here
(ADR 0003). Constraints, indexes and triggers are in the migrations alone. All times are
`timestamptz`.

Piccolo knows primary keys of one column only. Where a key has more, `primary_key=True` marks the first, and
rows are inserted and selected, never saved as objects.
"""

from __future__ import annotations

from typing import Any

from piccolo.columns import (
    JSONB,
    UUID,
    BigInt,
    Boolean,
    Bytea,
    ForeignKey,
    Integer,
    Text,
    Timestamptz,
    Varchar,
)
from piccolo.columns.defaults.timestamptz import TimestamptzNow
from piccolo.columns.defaults.uuid import UUID4
from piccolo.columns.reference import LazyTableReference
from piccolo.table import Table

from server.db.engine import ENGINE


class Users(Table, tablename="users", db=ENGINE):
    """The people and services that have called. `subject`, `issuer`: those of their tokens; the issuer is
    null for users of earlier releases.

    The columns `display_name` and `is_service` are not here: nothing reads or writes them.
    """

    id = UUID(primary_key=True, default=None)
    subject = Text(unique=True, default=None)
    email = Text(null=True, default=None)
    created_at = Timestamptz(default=TimestamptzNow())
    disabled_at = Timestamptz(null=True, default=None)
    issuer = Text(null=True, default=None)


class Workflows(Table, tablename="workflows", db=ENGINE):
    """Agents under refinement. `agent_definition`: the definition that the runtime runs. `locked_at`,
    `archived_at`: since when it may not be changed."""

    id = UUID(primary_key=True, default=UUID4())
    name = Text(default=None)
    owner_user_id = ForeignKey(Users, null=False, default=None)
    agent_definition = JSONB(default=None)
    current_draft_id: ForeignKey[Any] = ForeignKey(
        LazyTableReference("Drafts", module_path=__name__), null=True, default=None
    )
    created_at = Timestamptz(default=TimestamptzNow())
    locked_at = Timestamptz(null=True, default=None)
    archived_at = Timestamptz(null=True, default=None)


class Drafts(Table, tablename="drafts", db=ENGINE):
    """The spec files of a workflow. `version`: the current version, from 1."""

    id = UUID(primary_key=True, default=UUID4())
    workflow_id = ForeignKey(Workflows, null=False, default=None)
    version = Integer(default=1)
    created_at = Timestamptz(default=TimestamptzNow())
    updated_at = Timestamptz(default=TimestamptzNow())
    updated_by_user_id = ForeignKey(Users, null=False, default=None)


class DraftVersions(Table, tablename="draft_versions", db=ENGINE):
    """A version of a draft, and the proposal it came from, or the version that it restored, if any.
    whole_version: see `server.db.draft_files`. Key: (draft_id, version)."""

    draft_id = ForeignKey(Drafts, null=False, default=None, primary_key=True)
    version = Integer(default=None)
    created_at = Timestamptz(default=TimestamptzNow())
    created_by_user_id = ForeignKey(Users, null=False, default=None)
    proposal_id = UUID(null=True, default=None)
    restored_version = Integer(null=True, default=None)
    whole_version = Integer(null=True, default=None)


class Proposals(Table, tablename="proposals", db=ENGINE):
    """The result of a refinement.

    generated_files, rejections: see `server.db.file_json`. rejected_files: the rejections of a proposal
    that the first release finished. base_version: the version of the draft that the run started from.
    includes_base: whether the run worked on that version's files. failure_reason: a stable code;
    failure_message: a sentence for people. resolution, resolution_comment, result_version: what was
    decided, why, and the version of the draft that came of it. queue_number: its place in the queue of
    its draft, if it was queued. review_number, reviewed_at: how many changes there were of what is
    decided, and when the last one was. revises_proposal_id: the proposal that it revises.
    """

    id = UUID(primary_key=True, default=UUID4())
    draft_id = ForeignKey(Drafts, null=False, default=None)
    thread_id = Varchar(length=255, unique=True, default=None)
    status = Varchar(length=50, default="processing")
    user_prompt = Text(default=None)
    context_file_path = Text(null=True, default=None)
    context_selection = Text(null=True, default=None)
    generated_files = JSONB(null=True, default=None)
    created_at = Timestamptz(default=TimestamptzNow())
    completed_at = Timestamptz(null=True, default=None)
    created_by_user_id = ForeignKey(Users, null=False, default=None)
    resolved_by_user_id = ForeignKey(Users, null=True, default=None)
    resolved_at = Timestamptz(null=True, default=None)
    failure_reason = Text(null=True, default=None)
    failure_message = Text(null=True, default=None)
    file_count = Integer(default=0)
    base_version = Integer(default=1)
    rejected_files = JSONB(null=True, default=None)
    rejections = JSONB(null=True, default=None)
    includes_base = Boolean(default=False)
    resolution = Text(null=True, default=None)
    resolution_comment = Text(null=True, default=None)
    result_version = Integer(null=True, default=None)
    review_number = Integer(default=0)
    reviewed_at = Timestamptz(null=True, default=None)
    revises_proposal_id: ForeignKey[Any] = ForeignKey(
        LazyTableReference("Proposals", module_path=__name__), null=True, default=None
    )
    queue_number = BigInt(null=True, default=None)


class ProposalAccess(Table, tablename="proposal_access", db=ENGINE):
    """The access that users have to a proposal: owner, editor or viewer. Key: (proposal_id, user_id).

    `user_id` may belong to no user: no answer reveals whether a user exists. `proposal_created_at` is the
    proposal's `created_at`, which the database fills in.
    """

    proposal_id = ForeignKey(Proposals, null=False, default=None, primary_key=True)
    user_id = UUID(default=None)
    access_type = Varchar(length=50, default="owner")
    granted_at = Timestamptz(default=TimestamptzNow())
    accepted_at = Timestamptz(null=True, default=None)
    proposal_created_at = Timestamptz(default=None)


class ShareLinks(Table, tablename="share_links", db=ENGINE):
    """Links that show a proposal to anyone who has the secret. `sha256`: the hash of the secret.

    A link that is revoked is deleted.
    """

    id = UUID(primary_key=True, default=None)
    proposal_id = ForeignKey(Proposals, null=False, default=None)
    sha256 = Bytea(unique=True, default=None)
    after_seq = Integer(default=0)
    created_by_user_id = ForeignKey(Users, null=False, default=None)
    created_at = Timestamptz(default=TimestamptzNow())
    expires_at = Timestamptz(default=None)


class ProposalCallers(Table, tablename="proposal_callers", db=ENGINE):
    """A view: the access of each caller, a user or a share link. Key: (proposal_id, caller_id)."""

    proposal_id = UUID(primary_key=True, default=None)
    caller_id = UUID(default=None)
    access_type = Varchar(length=None, default=None)


#: Every table class, in an order in which each refers only to earlier ones; then the views.
TABLES: tuple[type[Table], ...] = (
    Users,
    Workflows,
    Drafts,
    DraftVersions,
    Proposals,
    ProposalAccess,
    ShareLinks,
)
VIEWS: tuple[type[Table], ...] = (ProposalCallers,)
