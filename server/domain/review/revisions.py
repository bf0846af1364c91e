"""The use case that revises a proposal: the next round, from the same version of the draft."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

from server.domain.computations import Computations
from server.domain.drafts.busy import WhenBusy
from server.domain.drafts.context import MAX_CONTEXT_BYTES
from server.domain.drafts.draft import sizes_of, texts_of
from server.domain.errors import Conflict, EtagMismatch, EtagRequired
from server.domain.etags import IfMatch
from server.domain.fair_budget import Reservation
from server.domain.idempotent_start import Started
from server.domain.model import IdempotencyKey, Principal, Proposal, Resolution, Revision, StartRefinement
from server.domain.off_loop import REQUESTS
from server.domain.refinements import Refinements
from server.domain.review.comparison import DiffBase, sides
from server.domain.review.patch import make_patch
from server.domain.review.store import ReviewFiles, ReviewStore
from server.encoding.json_text import decode_surrogates, replace_surrogates

#: The route of a revision on every interface, for idempotency keys.
REVISE_ROUTE = "revise_proposal"
#: Requests of earlier rounds that the agent gets at most: each may have as many characters as a prompt.
MAX_REQUESTS = 5


@dataclass(frozen=True, slots=True)
class ReviseProposal:
    """The command to revise a proposal; its fields are already validated. when_busy: as for a start."""

    user_prompt: str
    keep_decisions: bool = False
    when_busy: WhenBusy | None = None


class Revisions:
    """Next rounds of refinements."""

    def __init__(self, *, store: ReviewStore, refinements: Refinements, computations: Computations) -> None:
        self._store, self._refinements, self._computations = store, refinements, computations

    async def revise(
        self,
        principal: Principal,
        proposal_id: UUID,
        command: ReviseProposal,
        *,
        if_match: IfMatch | None,
        key: str | None = None,
        reservation: Reservation | None = None,
    ) -> Started:
        """Start a refinement from the version of the draft that the proposal's run started from.

        The proposal stays as it is. Raises NotFound, PermissionDenied; EtagRequired, EtagMismatch; Conflict
        while its run is not over, when it was accepted, and for a workflow that is locked or archived; other
        errors as `Refinements.start`.
        """
        request = [str(proposal_id), command.user_prompt, command.keep_decisions]
        if command.when_busy is not None:
            request.append(command.when_busy.value)
        named = None if key is None else IdempotencyKey.of(REVISE_ROUTE, key, request)
        async with self._store.reviewing(principal, proposal_id) as edit:
            proposal = edit.proposal
        repeated = await self._refinements.repeated(principal, proposal.workflow_id, named)
        if repeated is not None:
            return repeated
        if if_match is None:
            raise EtagRequired
        if edit.frozen is not None:
            raise Conflict(f"the workflow is {edit.frozen}: it cannot be refined")
        check = partial(_check, if_match)
        check(proposal)
        files = await self._store.read(principal, proposal_id, reservation=reservation)
        rounds = await self._store.rounds(proposal, MAX_REQUESTS)
        prompt = await self._computations.run(
            files.differing_texts, revision_prompt, rounds.requests, command.user_prompt, files
        )
        path = proposal.context_file_path or ""
        context = {path: files.base[path]} if path in files.base else {}
        workflow = replace(
            rounds.workflow,
            files=await REQUESTS.run_unless_small(sizes_of(context), texts_of, context),
            has_files=bool(files.base),
            draft_version=proposal.base_version,
        )
        start = StartRefinement(
            workflow.id,
            command.user_prompt,
            proposal.context_file_path,
            proposal.context_selection,
            command.when_busy,
        )
        revision = Revision(proposal_id, prompt, check, command.keep_decisions)
        return await self._refinements.start_on(principal, workflow, start, key=named, revision=revision)


def _check(if_match: IfMatch, proposal: Proposal) -> None:
    """Check that the proposal may be revised. Raises Conflict, EtagMismatch."""
    if not proposal.status.terminal:
        raise Conflict("the run has not ended: its proposal cannot be revised")
    if proposal.resolution is Resolution.ACCEPTED:
        raise Conflict("the proposal was accepted before: refine the draft")
    if not if_match.matches(proposal.etag):
        raise EtagMismatch("proposal")


def revision_prompt(requests: Sequence[str], feedback: str, files: ReviewFiles) -> str:
    """What the agent of the next round is asked: the earlier requests, oldest first, what came of them, and
    what is to be done better."""
    first, *later = requests
    parts = [first, *(f"After a review of that, the request was:\n\n{each}" for each in later)]
    patch = _patch(files)
    if patch:
        parts.append(f"The last attempt changed the files as this patch does:\n\n{patch}")
    parts.append(f"That attempt was reviewed. Start again from the files, and do this better:\n\n{feedback}")
    return "\n\n".join(parts)


def _patch(files: ReviewFiles) -> str:
    """What the proposal changes, as a patch; empty for one that is too large for a prompt."""
    compared = sides(files, DiffBase.STARTED_FROM)
    text = b""
    for part in make_patch(compared.before, compared.after).text():
        text += part
        if len(text) > MAX_CONTEXT_BYTES:
            return ""
    return replace_surrogates(decode_surrogates(text))
