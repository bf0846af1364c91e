"""The use cases that both interfaces offer to callers, and what the interfaces need for that."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from server.auth.authenticator import Authenticator
from server.domain.access.cut_offs import CutOffObserver
from server.domain.access.refused_bytes import RefusedBytes
from server.domain.access.sharing import AccessStore, Sharing
from server.domain.access.tickets import Tickets
from server.domain.access.users import Directory
from server.domain.drafts.drafts import Drafts
from server.domain.drafts.store import DraftStore
from server.domain.fair_budget import FairBudget
from server.domain.file_history.file_history import FileHistory
from server.domain.input_replies import InputReplies
from server.domain.loop_turns import LoopTurns
from server.domain.proposals.contents import ArchivedStore
from server.domain.proposals.store import ProposalStore
from server.domain.quarantine.quarantine import Quarantine
from server.domain.refinements import Refinements
from server.domain.review.comparisons import Comparisons
from server.domain.review.reviews import Reviews
from server.domain.review.revisions import Revisions
from server.domain.server_info import ServerInfo
from server.domain.streams.observer import ReaderObserver
from server.domain.webhooks.store import WebhookStore
from server.domain.webhooks.webhooks import Webhooks
from server.domain.workflows import WorkflowService

#: Methods of the contract, and one of HTTP alone (ReadStream), that a share link's secret is enough for: they
#: only read one proposal or its refinement. WebSockets, which follow a refinement as WatchRefinement does,
#: accept it too.
READABLE_BY_SHARE_LINK = frozenset(
    {
        "GetProposal",
        "ListProposals",
        "ReadFile",
        "ReadArchive",
        "GetRefinement",
        "ListEvents",
        "ReadEvent",
        "WatchRefinement",
        "ReadStream",
        "ListFilesAt",
        "ReadRefinementFile",
        "BlameFile",
    }
)

#: Bytes of which AG-UI events are made in one turn of the event loop, for all readers, and those of the files
#: of large answers: a millisecond or two.
AGUI_TURN_BYTES = ANSWER_TURN_BYTES = 16 << 10

#: The service of the contract whose methods only operators may call, and what its addresses over HTTP begin
#: with.
OPERATORS_SERVICE, OPERATORS_PATH = "QuarantineService", "/api/quarantine/"


@dataclass(frozen=True, slots=True)
class UseCases:
    """The use cases. `authenticator` identifies callers; `readers` observes those that follow a thread,
    `cut_offs` clients that are cut off; `outgoing` bounds what is read for callers and not yet sent,
    `incoming` what large requests have in memory until they are answered."""

    refinements: Refinements
    input_replies: InputReplies
    file_history: FileHistory
    proposals: ProposalStore
    contents: ArchivedStore
    access: AccessStore
    sharing: Sharing
    directory: Directory
    workflows: WorkflowService
    drafts: Drafts
    draft_store: DraftStore
    comparisons: Comparisons
    reviews: Reviews
    revisions: Revisions
    webhooks: Webhooks
    webhook_store: WebhookStore
    tickets: Tickets
    server_info: ServerInfo
    authenticator: Authenticator
    readers: ReaderObserver
    cut_offs: CutOffObserver
    refused_bytes: RefusedBytes
    outgoing: FairBudget
    incoming: FairBudget
    quarantine: Quarantine
    agui_turns: LoopTurns = field(
        init=False, default_factory=partial(LoopTurns, AGUI_TURN_BYTES, small_bytes=0)
    )
    answer_turns: LoopTurns = field(
        init=False, default_factory=partial(LoopTurns, ANSWER_TURN_BYTES, small_bytes=0)
    )
