"""The use cases that decide about proposals: file by file, accept, reject.

A caller that may not see a proposal gets the same answer as for one that does not exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from server.domain.access.quotas import Quotas
from server.domain.clock import Clock
from server.domain.computations import Computations
from server.domain.crash_points import crash_point
from server.domain.drafts.draft import Draft
from server.domain.errors import DraftMoved, EtagMismatch, too_busy
from server.domain.etags import IfMatch
from server.domain.fair_budget import Reservation
from server.domain.model import IdempotencyKey, Principal, Proposal, Resolution
from server.domain.review.acceptance import Acceptance, AcceptProposal, plan_acceptance
from server.domain.review.comparison import decide
from server.domain.review.conditions import (
    REJECT_ROUTE,
    accept_key,
    check_undecided,
)
from server.domain.review.conflicts import ShownConflict
from server.domain.review.decisions import DecideFile, FileDecision
from server.domain.review.store import ReviewEdit, ReviewFiles, ReviewStore

#: Maximum number of plans of one request: the draft or the decisions may change before one is carried out.
_MAX_PLANS = 5


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A proposal after a decision, without files. `replayed`: an earlier request with the same key made
    it."""

    proposal: Proposal
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    """A proposal that was accepted, or would be, and the draft with it; both without files.

    acceptance: what differs in the draft; None for a repeated request. before: the paths that the draft had.
    """

    proposal: Proposal
    draft: Draft
    acceptance: Acceptance | None = None
    before: frozenset[str] = field(default_factory=frozenset)
    replayed: bool = False

    @property
    def conflicts(self) -> Sequence[ShownConflict]:
        """The conflicts that keep it from being accepted."""
        return self.acceptance.conflicts if self.acceptance else ()


class Reviews:
    """Decisions about proposals."""

    def __init__(
        self, *, store: ReviewStore, quotas: Quotas, clock: Clock, computations: Computations
    ) -> None:
        self._store, self._quotas, self._clock = store, quotas, clock
        self._computations = computations

    async def decide(
        self,
        principal: Principal,
        proposal_id: UUID,
        commands: Sequence[DecideFile],
        *,
        if_match: IfMatch | None,
        reservation: Reservation | None = None,
    ) -> Proposal:
        """Decide about files and hunks, all of it or nothing.

        Raises NotFound, PermissionDenied; LimitReached; EtagRequired, EtagMismatch; Conflict for a proposal
        that does not await review, or whose workflow is locked or archived; InvalidArgument and Unprocessable
        as `server.domain.review.comparison.decide`.
        """
        await self._quotas.count_creation(principal.quota_id)
        for _ in range(_MAX_PLANS):
            async with self._store.reviewing(principal, proposal_id) as edit:
                check_undecided(edit, if_match)
            files = await self._store.read(principal, proposal_id, reservation=reservation)
            decisions: dict[str, FileDecision] = await self._computations.run(
                files.differing_texts, decide, files, commands
            )
            async with self._store.reviewing(principal, proposal_id) as edit:
                check_undecided(edit, if_match)
                if edit.proposal.etag == files.proposal.etag:
                    return await edit.set_decisions(decisions, now=self._clock.now())
        raise too_busy()

    async def accept(
        self,
        principal: Principal,
        proposal_id: UUID,
        command: AcceptProposal,
        *,
        if_match: IfMatch | None,
        validate_only: bool = False,
        key: str | None = None,
        reservation: Reservation | None = None,
    ) -> Accepted:
        """Bring what is not rejected into the draft, as one new version; none when nothing differs.

        validate_only: return what would be done, with the conflicts, and change nothing. The same command
        with the same key accepts once. Raises as `decide`; EtagMismatch also for the draft's etag; DraftMoved
        for conflicts; KeyReused for another command with the key; InvalidArgument and Unprocessable as
        `plan_acceptance`.
        """
        await self._quotas.count_creation(principal.quota_id)
        named = None if key is None or validate_only else accept_key(key, proposal_id, command)
        for _ in range(_MAX_PLANS):
            async with self._store.reviewing(principal, proposal_id) as edit:
                replayed = await edit.is_repeat(named)
                if not replayed:
                    check_undecided(edit, if_match)
            if replayed:
                async with self._store.reviewing(principal, proposal_id, with_draft=True) as edit:
                    return _repeated(edit)
            files = await self._store.read(
                principal, proposal_id, draft_contents=True, reservation=reservation
            )
            plan = await self._plan(files, command)
            planned = Accepted(
                files.proposal, replace(files.draft, files={}), plan, frozenset(files.draft.files)
            )
            if validate_only:
                return planned
            if plan.conflicts:
                raise DraftMoved(
                    plan.conflicts,
                    base_version=files.proposal.base_version,
                    draft_version=files.draft.version,
                    draft_etag=files.draft.etag,
                )
            accepted = await self._commit(principal, planned, command.comment, if_match, named)
            if accepted is not None:
                crash_point("accepted")
                return accepted
        raise too_busy()

    async def _plan(self, files: ReviewFiles, command: AcceptProposal) -> Acceptance:
        if command.draft_etag is not None and command.draft_etag != files.draft.etag:
            raise EtagMismatch("draft")
        return await self._computations.run(files.differing_texts, plan_acceptance, files, command)

    async def _commit(
        self,
        principal: Principal,
        planned: Accepted,
        comment: str,
        if_match: IfMatch | None,
        key: IdempotencyKey | None,
    ) -> Accepted | None:
        """Carry out the plan; None when it is out of date."""
        proposal, plan = planned.proposal, planned.acceptance
        async with self._store.reviewing(principal, proposal.id, with_draft=True) as edit:
            if await edit.is_repeat(key):
                return _repeated(edit)
            check_undecided(edit, if_match)
            if edit.proposal.etag != proposal.etag or edit.draft.draft.etag != planned.draft.etag:
                return None
            crash_point("before_accept")
            now, draft = self._clock.now(), planned.draft
            if plan is not None and plan.changes.hashes:
                draft = await edit.draft.add_version(plan.changes, now=now, proposal_id=proposal.id)
                crash_point("in_accept")
            resolved = await edit.resolve(
                Resolution.ACCEPTED,
                comment=comment,
                now=now,
                result_version=draft.version if draft is not planned.draft else None,
                key=key,
            )
            crash_point("end_of_accept")
        return replace(planned, proposal=resolved, draft=draft)

    async def reject(
        self,
        principal: Principal,
        proposal_id: UUID,
        comment: str,
        *,
        if_match: IfMatch | None,
        key: str | None = None,
    ) -> Reviewed:
        """Turn the proposal down. Raises as `decide`, and KeyReused for another command with the key."""
        await self._quotas.count_creation(principal.quota_id)
        request = [str(proposal_id), comment]
        named = None if key is None else IdempotencyKey.of(REJECT_ROUTE, key, request)
        async with self._store.reviewing(principal, proposal_id) as edit:
            if await edit.is_repeat(named):
                return Reviewed(edit.proposal, replayed=True)
            check_undecided(edit, if_match)
            return Reviewed(
                await edit.resolve(Resolution.REJECTED, comment=comment, now=self._clock.now(), key=named)
            )


def _repeated(edit: ReviewEdit) -> Accepted:
    """The answer to a request that was carried out before."""
    return Accepted(edit.proposal, replace(edit.draft.draft, files={}), replayed=True)
