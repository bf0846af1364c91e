"""Whether something may be decided about a proposal, and the keys of what is."""

from __future__ import annotations

from uuid import UUID

from server.domain.errors import Conflict, EtagMismatch, EtagRequired
from server.domain.etags import IfMatch
from server.domain.model import IdempotencyKey, ProposalStatus
from server.domain.review.acceptance import AcceptProposal
from server.domain.review.store import ReviewEdit

#: The routes of decisions on every interface, for idempotency keys.
ACCEPT_ROUTE, REJECT_ROUTE = "accept_proposal", "reject_proposal"


def check_undecided(edit: ReviewEdit, if_match: IfMatch | None) -> None:
    """Check that something may be decided now. Raises EtagRequired, Conflict, EtagMismatch."""
    proposal = edit.proposal
    if if_match is None:
        raise EtagRequired
    if edit.frozen is not None:
        raise Conflict(f"the workflow is {edit.frozen}: its proposals cannot be decided")
    if proposal.resolution is not None:
        raise Conflict(f"the proposal was {proposal.resolution.value} before")
    if proposal.status is not ProposalStatus.COMPLETED:
        state = "did not complete" if proposal.status.terminal else "has not ended"
        raise Conflict(f"the run {state}: its proposal cannot be decided")
    if not if_match.matches(proposal.etag):
        raise EtagMismatch("proposal")


def accept_key(key: str, proposal_id: UUID, command: AcceptProposal) -> IdempotencyKey:
    """The idempotency key of accepting a proposal."""
    resolved = {
        path: [choice.__class__.__name__, choice and str(choice)] for path, choice in command.resolved.items()
    }
    request = [str(proposal_id), command.strategy.value, resolved, command.draft_etag, command.comment]
    return IdempotencyKey.of(ACCEPT_ROUTE, key, request)
