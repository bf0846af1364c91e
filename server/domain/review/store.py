"""The store of reviews: what is compared and merged, and what is decided.

All methods that reach the database raise DatabaseUnavailable while it cannot be reached.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from server.domain.drafts.draft import Draft, DraftFile
from server.domain.drafts.store import DraftEdit
from server.domain.fair_budget import Reservation
from server.domain.model import IdempotencyKey, Principal, Proposal, Resolution, Workflow
from server.domain.review.decisions import FileDecision


@dataclass(frozen=True, slots=True)
class ReviewFiles:
    """A proposal with its files, and what it is compared and merged with.

    base: the files of the version that its run started from. draft: the newest version, whose files have
    contents if they were asked for. decisions: by path, including those that no longer apply. rejected: the
    files that the proposal rejects and a decision brings in, by path; only with the draft's contents.
    """

    proposal: Proposal
    base: Mapping[str, DraftFile]
    draft: Draft
    decisions: Mapping[str, FileDecision] = field(default_factory=dict)
    rejected: Mapping[str, DraftFile] = field(default_factory=dict)

    @property
    def differing_texts(self) -> Iterator[bytes]:
        """The contents that are compared or merged: those that were read, without files of the proposal and
        of the draft that are as in the base."""
        for path, file in self.proposal.files.items():
            base = self.base.get(path)
            if base is None or base.content != file.content:
                yield file.content
                yield b"" if base is None else base.content or b""
        for path, newest in self.draft.files.items():
            if newest.content and (path not in self.base or self.base[path].sha256 != newest.sha256):
                yield newest.content
        for rejected in self.rejected.values():
            yield rejected.content or b""


@dataclass(frozen=True, slots=True)
class Rounds:
    """A proposal's workflow, without files, and the requests up to the proposal's own, oldest first."""

    workflow: Workflow
    requests: Sequence[str]


class ReviewEdit(Protocol):
    """An open transaction in which nobody else decides about the proposal."""

    @property
    def proposal(self) -> Proposal:
        """The proposal without its files."""
        ...

    @property
    def frozen(self) -> str | None:
        """Why the workflow may not be changed: `locked` or `archived`; None when it may."""
        ...

    @property
    def draft(self) -> DraftEdit:
        """The draft, which nobody else changes: of a transaction that was opened for that."""
        ...

    async def is_repeat(self, key: IdempotencyKey | None) -> bool:
        """Whether the request with this key was carried out before; False without a key. Raises KeyReused
        when the key belongs to another request."""
        ...

    async def set_decisions(self, decisions: Mapping[str, FileDecision], *, now: datetime) -> Proposal:
        """Store what is decided about these files. Returns the proposal as it is then."""
        ...

    async def resolve(
        self,
        resolution: Resolution,
        *,
        comment: str,
        now: datetime,
        result_version: int | None = None,
        key: IdempotencyKey | None = None,
    ) -> Proposal:
        """Accept or reject the proposal. Returns it as it is then. Raises KeyReused as `is_repeat`."""
        ...


class ReviewStore(Protocol):
    """Reviews. A caller sees only what it may see."""

    async def read(
        self,
        principal: Principal,
        proposal_id: UUID,
        *,
        draft_contents: bool = False,
        reservation: Reservation | None = None,
        held_bytes: int = 0,
    ) -> ReviewFiles:
        """The proposal, its files and the draft's, read once the reservation has room for them, besides
        `held_bytes` that it has already.

        Raises NotFound when it does not exist or the principal may not see it and its draft.
        """
        ...

    async def rounds(self, proposal: Proposal, most: int) -> Rounds:
        """The workflow, and the last requests, of a proposal that the caller may decide about."""
        ...

    def reviewing(
        self, principal: Principal, proposal_id: UUID, *, with_draft: bool = False
    ) -> AbstractAsyncContextManager[ReviewEdit]:
        """A transaction that decides about the proposal, and changes the draft if asked to, committed when
        the block ends.

        Entering raises NotFound when the principal may not see the proposal, PermissionDenied when it may
        only read it.
        """
        ...
