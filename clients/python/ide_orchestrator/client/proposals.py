"""Calls about proposals: their files, what they change, and what is decided about them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Literal

from ide_orchestrator.client.http_calls import (
    PAGE,
    HttpCalls,
    address,
    if_match,
    present,
    view,
    with_query,
)
from ide_orchestrator.client.resources import (
    AcceptedProposal,
    Decision,
    FileDecision,
    FileDiff,
    Proposal,
    ResolvedFile,
    StartedRefinement,
    Status,
    WhenBusy,
)

_PATCH = {"Accept": "text/x-patch"}


class ProposalCalls(HttpCalls):
    """Reads and reviews proposals."""

    async def proposal(self, proposal_id: str, *, contents: bool = True) -> Proposal:
        """A proposal with its files."""
        path = with_query(address("proposals", proposal_id), {"view": view(contents)})
        found: Proposal = await self.call("GET", path)
        return found

    def proposals(
        self,
        *,
        workflow_id: str | None = None,
        status: Status | None = None,
        resolution: Decision | Literal["none"] | None = None,
        text: str | None = None,
    ) -> AsyncGenerator[Proposal, None]:
        """The proposals that the caller may see, newest first, without files. resolution: `none` for those
        that await a decision."""
        return self.items(
            "/api/proposals",
            limit=PAGE,
            workflow_id=workflow_id,
            status=status,
            resolution=resolution,
            text=text,
        )

    async def read_file(self, proposal_id: str, sha256: str) -> bytes:
        """The content of a file, or of a rejected file."""
        return await self.read(f"{address('proposals', proposal_id)}/files/{sha256}")

    def archive(self, proposal_id: str) -> AsyncGenerator[bytes, None]:
        """The files as a zip archive, in pieces."""
        return self.pieces(f"{address('proposals', proposal_id)}/archive")

    def patch(
        self, proposal_id: str, base: Literal["started_from", "draft"] = "started_from"
    ) -> AsyncGenerator[bytes, None]:
        """The comparison as a patch in git's format, in pieces."""
        return self.pieces(f"{address('proposals', proposal_id)}/diff", _PATCH, base=base)

    def diff(
        self,
        proposal_id: str,
        base: Literal["started_from", "draft"] = "started_from",
        *,
        path: str | None = None,
        context: int = 3,
    ) -> AsyncGenerator[FileDiff, None]:
        """The files that differ from the version that the run started from, or from the newest version.

        path: only this file. context: lines around each hunk.
        """
        return self.items(f"{address('proposals', proposal_id)}/diff", base=base, path=path, context=context)

    async def decide(self, proposal: Proposal, decisions: Sequence[FileDecision]) -> Proposal:
        """Decide about files or hunks, if nobody has decided since the proposal was read. Returns it with its
        new etag."""
        path, body = f"{address('proposals', proposal['id'])}/decisions", {"decisions": decisions}
        decided: Proposal = await self.call("PATCH", path, body, headers=if_match(proposal))
        return decided

    async def accept(
        self,
        proposal: Proposal,
        *,
        strategy: Literal["refuse", "three_way"] = "refuse",
        resolved_files: Sequence[ResolvedFile] = (),
        draft_etag: str | None = None,
        comment: str = "",
        validate_only: bool = False,
        request_id: str | None = None,
    ) -> AcceptedProposal:
        """Bring what is not rejected into the draft, as one new version or not at all.

        strategy: `three_way` merges files that the draft has changed, too. resolved_files: for files in
        conflict, with the `draft_etag` of the draft that they are for. validate_only: says what would be
        done. Raises Changed (`draft_moved`) with the conflicts.
        """
        body = {
            "strategy": strategy,
            "resolved_files": resolved_files or None,
            "draft_etag": draft_etag,
            "comment": comment,
        }
        path = f"{address('proposals', proposal['id'])}/accept"
        accepted: AcceptedProposal = await self.call_once(
            "POST",
            with_query(path, {"validate_only": validate_only or None}),
            present(body),
            if_match(proposal),
            key=request_id,
        )
        return accepted

    async def reject(
        self, proposal: Proposal, comment: str = "", *, request_id: str | None = None
    ) -> Proposal:
        """Turn a proposal down."""
        path = f"{address('proposals', proposal['id'])}/reject"
        rejected: Proposal = await self.call_once(
            "POST", path, {"comment": comment}, if_match(proposal), key=request_id
        )
        return rejected

    async def revise(
        self,
        proposal: Proposal,
        user_prompt: str,
        *,
        keep_decisions: bool = False,
        when_busy: WhenBusy | None = None,
        request_id: str | None = None,
    ) -> StartedRefinement:
        """Start the next round, with what is to be done better."""
        body = {"user_prompt": user_prompt, "keep_decisions": keep_decisions, "when_busy": when_busy}
        path = f"{address('proposals', proposal['id'])}/revise"
        started: StartedRefinement = await self.call_once(
            "POST", path, present(body), if_match(proposal), key=request_id
        )
        return started
