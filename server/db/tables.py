"""Piccolo's picture of the tables; what makes them is `migrations/`. A test holds the two together.

All times are `timestamptz`. Piccolo knows primary keys of one column only: where the key has more,
`primary_key=True` marks its first column, and rows of such a table are never saved as objects.
Constraints, indexes and triggers are in the migrations alone.
"""

from __future__ import annotations

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
from piccolo.table import Table

from server.db.engine import ENGINE


class Users(Table, tablename="users", db=ENGINE):
    """The people and services that have called. `subject`: the token's subject."""

    id = UUID(primary_key=True, default=None)
    subject = Text(unique=True, default=None)
    email = Text(null=True, default=None)
    display_name = Text(null=True, default=None)
    is_service = Boolean(default=False)
    created_at = Timestamptz(default=TimestamptzNow())
    disabled_at = Timestamptz(null=True, default=None)


class Workflows(Table, tablename="workflows", db=ENGINE):
    """What is refined. `agent_definition`: what the runtime is told to run."""

    id = UUID(primary_key=True, default=UUID4())
    name = Text(default=None)
    owner_user_id = ForeignKey(Users, null=False, default=None)
    agent_definition = JSONB(default=None)
    current_draft_id = UUID(null=True, default=None)
    created_at = Timestamptz(default=TimestamptzNow())


class Drafts(Table, tablename="drafts", db=ENGINE):
    """A workflow's spec files. `version`: the newest version, from 1."""

    id = UUID(primary_key=True, default=UUID4())
    workflow_id = ForeignKey(Workflows, null=False, default=None)
    version = Integer(default=1)
    created_at = Timestamptz(default=TimestamptzNow())
    updated_at = Timestamptz(default=TimestamptzNow())
    updated_by_user_id = ForeignKey(Users, null=False, default=None)


class DraftVersions(Table, tablename="draft_versions", db=ENGINE):
    """A version of a draft, and the proposal it came from, if any. Key: draft_id, version."""

    draft_id = ForeignKey(Drafts, null=False, default=None, primary_key=True)
    version = Integer(default=None)
    created_at = Timestamptz(default=TimestamptzNow())
    created_by_user_id = ForeignKey(Users, null=False, default=None)
    proposal_id = UUID(null=True, default=None)


class DraftFiles(Table, tablename="draft_files", db=ENGINE):
    """What a version changed. Key: draft_id, version, path.

    A path's content at version v is in the row with the highest version not above v. `content` is
    the text's UTF-8, null in a row that says `deleted`.
    """

    draft_id = UUID(primary_key=True, default=None)
    version = Integer(default=None)
    path = Text(default=None)
    content = Bytea(null=True, default=None)
    deleted = Boolean(default=False)


class Proposals(Table, tablename="proposals", db=ENGINE):
    """The result of a refinement.

    generated_files, rejected_files: see `server.db.file_json`. base_version: the draft's version that
    the run started from. failure_reason: a stable code; failure_message: a sentence for people.
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


class ProposalAccess(Table, tablename="proposal_access", db=ENGINE):
    """Who may see a proposal, and as what: owner, editor, viewer. Key: proposal_id, user_id."""

    proposal_id = ForeignKey(Proposals, null=False, default=None, primary_key=True)
    user_id = ForeignKey(Users, null=False, default=None)
    access_type = Varchar(length=50, default="owner")
    granted_at = Timestamptz(default=TimestamptzNow())


class ShareLinks(Table, tablename="share_links", db=ENGINE):
    """Links that show a proposal to anyone who has them, by their secrets' hash. A link that is withdrawn is
    gone. The view `proposal_callers` has links beside `proposal_access`."""

    id = UUID(primary_key=True, default=None)
    proposal_id = ForeignKey(Proposals, null=False, default=None)
    sha256 = Bytea(unique=True, default=None)
    after_seq = Integer(default=0)
    created_by_user_id = ForeignKey(Users, null=False, default=None)
    created_at = Timestamptz(default=TimestamptzNow())
    expires_at = Timestamptz(default=None)


class Runs(Table, tablename="runs", db=ENGINE):
    """A run, its lease, and where its journal stands.

    status: a word of `server.domain.runs.status`. attempt: invokes recorded so far. owner: the replica
    that drives it until lease_until. fence: grows with each owner. last_seq, epoch, floor: of the
    journal. takeovers: since takeover_seq, the last_seq at the last takeover that found progress.
    """

    thread_id = UUID(primary_key=True, default=None)
    proposal_id = ForeignKey(Proposals, null=False, default=None, unique=True)
    status = Varchar(length=20, default="pending")
    attempt = Integer(default=0)
    owner = Text(null=True, default=None)
    fence = BigInt(default=1)
    lease_until = Timestamptz(null=True, default=None)
    last_seq = Integer(default=0)
    epoch = Integer(default=1)
    floor = Integer(default=1)
    cancel_requested_at = Timestamptz(null=True, default=None)
    takeovers = Integer(default=0)
    takeover_seq = Integer(default=0)
    trace_id = UUID(default=None)
    invocation = JSONB(default=None)
    created_at = Timestamptz(default=TimestamptzNow())
    finished_at = Timestamptz(null=True, default=None)


class Events(Table, tablename="events", db=ENGINE):
    """One committed batch of a run's events, see `server.domain.journal.segments`. Key: thread_id, first_seq.

    terminal: whether the last of them is the run's terminal event.
    """

    thread_id = ForeignKey(Runs, null=False, default=None, primary_key=True)
    first_seq = Integer(default=None)
    last_seq = Integer(default=None)
    batch = Bytea(default=None)
    residues = Bytea(default=None)
    terminal = Boolean(default=False)


class IdempotencyKeys(Table, tablename="idempotency_keys", db=ENGINE):
    """What a key of a caller's started, so that the same request starts it once. Key: user_id, route, key."""

    user_id = UUID(primary_key=True, default=None)
    route = Text(default=None)
    key = Text(default=None)
    request_sha256 = Bytea(default=None)
    thread_id = UUID(default=None)
    created_at = Timestamptz(default=TimestamptzNow())
    expires_at = Timestamptz(default=None)


class Tickets(Table, tablename="tickets", db=ENGINE):
    """Tickets for WebSockets that nobody has shown yet, by their hash. `token_expires_at`: when the token
    ends that one was got with."""

    sha256 = Bytea(primary_key=True, default=None)
    user_id = ForeignKey(Users, null=False, default=None)
    thread_id = UUID(default=None)
    token_expires_at = Timestamptz(null=True, default=None)
    expires_at = Timestamptz(default=None)


class Quotas(Table, tablename="quotas", db=ENGINE):
    """What a caller made in the minute that began at `minute_began_at`, and its open streams by replica."""

    caller_id = UUID(primary_key=True, default=None)
    minute_began_at = Timestamptz(default=TimestamptzNow())
    creates = Integer(default=0)
    streams = JSONB(default="{}")


class Replicas(Table, tablename="replicas", db=ENGINE):
    """The replicas, and when each last said that it lives."""

    name = Text(primary_key=True, default=None)
    seen_at = Timestamptz(default=None)


#: Every table, in an order in which each refers only to earlier ones.
TABLES: tuple[type[Table], ...] = (
    Users,
    Workflows,
    Drafts,
    DraftVersions,
    DraftFiles,
    Proposals,
    ProposalAccess,
    ShareLinks,
    Runs,
    Events,
    IdempotencyKeys,
    Tickets,
    Quotas,
    Replicas,
)
