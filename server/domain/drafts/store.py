"""The store of drafts.

All methods that reach the database raise DatabaseUnavailable while it cannot be reached.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol
from uuid import UUID

from server.domain.drafts.changes import Changes
from server.domain.drafts.draft import Draft, DraftFile, DraftVersion
from server.domain.fair_budget import Reservation
from server.domain.model import IdempotencyKey, Page, Principal
from server.domain.proposals.contents import ContentPiece


class DraftEdit(Protocol):
    """An open transaction in which nobody else changes the draft."""

    @property
    def draft(self) -> Draft:
        """The newest version, with its files without contents."""
        ...

    @property
    def frozen(self) -> str | None:
        """Why the workflow may not be changed: `locked` or `archived`; None when it may."""
        ...

    async def earlier(self, key: IdempotencyKey | None) -> Draft | None:
        """The draft, without files, at the version that the request with this key made; None when there is no
        key, or it may be used. Raises KeyReused when it belongs to another request."""
        ...

    async def files_at(self, version: int) -> Mapping[str, DraftFile]:
        """The files of a version, without contents. Raises NotFound."""
        ...

    async def add_version(
        self,
        changes: Changes,
        *,
        now: datetime,
        key: IdempotencyKey | None = None,
        restored_version: int = 0,
        proposal_id: UUID | None = None,
    ) -> Draft:
        """Add a version, which is committed with the transaction. Returns it without files. proposal_id: the
        proposal that it comes from. Raises KeyReused as `earlier`."""
        ...


class DraftFilesStore(Protocol):
    """The files of drafts, for runs."""

    async def files_of(
        self, version: DraftVersion, *, max_bytes: int, contents: bool
    ) -> Mapping[str, DraftFile]:
        """The files of a version, with contents if asked for; none when they have more than `max_bytes`."""
        ...


class DraftStore(DraftFilesStore, Protocol):
    """Drafts. A caller sees only what it may see.

    The owner of a draft's workflow may read and write it. So may anyone with access to one of its
    proposals, as far as that access goes: viewers read, editors and owners also write.
    """

    async def get(
        self,
        principal: Principal,
        draft_id: UUID,
        version: int | None = None,
        *,
        files: bool = True,
        contents: bool = True,
        reservation: Reservation | None = None,
    ) -> Draft:
        """The draft at a version, by default the newest; files and contents as asked for, read once the
        reservation has room for them.

        Raises NotFound when it or the version does not exist, or the principal may not see it.
        """
        ...

    async def pair(
        self,
        principal: Principal,
        draft_id: UUID,
        version: int | None = None,
        base_version: int | None = None,
        *,
        reservation: Reservation | None = None,
    ) -> tuple[Draft | None, Draft]:
        """Two versions to compare, with the contents of the files that differ: the base, by default the
        version before the other one, and the version, by default the newest. The base is None if there is no
        version before.

        Raises as `get`.
        """
        ...

    async def versions(self, principal: Principal, draft_id: UUID, *, limit: int, token: str | None) -> Page:
        """The versions without files, newest first. Raises NotFound; InvalidArgument for a token that this
        list did not issue."""
        ...

    async def read_content(
        self, principal: Principal, draft_id: UUID, sha256: str, *, offset: int, max_bytes: int
    ) -> ContentPiece:
        """A piece of the content of a file, of any version: as `ContentStore.read_content`."""
        ...

    async def read_small(
        self, principal: Principal, draft_id: UUID, hashes: Sequence[str]
    ) -> Mapping[str, bytes]:
        """Small contents of files, of any version: as `ArchivedStore.read_small`."""
        ...

    def editing(self, principal: Principal, draft_id: UUID) -> AbstractAsyncContextManager[DraftEdit]:
        """A transaction that changes the draft, committed when the block ends.

        Entering raises NotFound when the principal may not see the draft, PermissionDenied when it may only
        read it.
        """
        ...
