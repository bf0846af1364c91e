"""Access: who may see a proposal and its thread, who may act on them, and links that show them to anyone
who has the link (ADR 0017).

    viewer  reads the proposal, the refinement and its events
    editor  cancels the run, too
    owner   grants and withdraws access, too; a proposal never is without one

A share link's secret stands for a caller of its own, who is a viewer of one proposal and can do nothing
but read it. Whoever may not see a proposal is told the same as for one that there is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from hashlib import sha256
from secrets import token_urlsafe
from typing import Protocol
from uuid import UUID, uuid4

from server.domain.errors import NotFound, PermissionDenied
from server.domain.model import Principal

#: Begins the secret of every share link, so that it is told from a token, and found by who scans for secrets.
SHARE_PREFIX = "ideo_share_"
#: Longest text that can be the secret of a share link, in characters.
MAX_SHARE_CHARS = 64
#: How long a share link is good if nobody says, and at most.
SHARE_LIFETIME, MAX_SHARE_LIFETIME = timedelta(days=7), timedelta(days=90)
#: Most people with access to one proposal, and most links to it that are good at a time.
MAX_GRANTS, MAX_SHARE_LINKS = 200, 50


def _secret() -> str:
    return SHARE_PREFIX + token_urlsafe(32)  # 256 bits


class AccessType(Enum):
    """What somebody may do; the value is the word in the database and over HTTP."""

    OWNER = "owner"
    EDITOR = "editor"
    VIEWER = "viewer"

    @property
    def acts(self) -> bool:
        """Whether it may do more than read."""
        return self is not AccessType.VIEWER


@dataclass(frozen=True, slots=True)
class Grant:
    """One user's access to a proposal. `email`: as the user's token told it last, None for none."""

    proposal_id: UUID
    user_id: UUID
    access_type: AccessType
    granted_at: datetime
    email: str | None = None


@dataclass(frozen=True, slots=True)
class ShareLink:
    """A link to a proposal. `after_seq`: what it shows of the events begins behind. `secret` is told once,
    when the link is made."""

    id: UUID
    proposal_id: UUID
    thread_id: UUID
    after_seq: int
    created_by_user_id: UUID
    created_at: datetime
    expires_at: datetime
    secret: str | None = None


class AccessStore(Protocol):
    """Grants and share links. Times are the store's own; each change is one transaction with the check
    that `by`, the caller, is an owner of the proposal at that moment.

    All but `resolve_link` raise NotFound when the caller may not see the proposal, and PermissionDenied when
    it may, but is no owner.
    """

    async def access_type(self, principal: Principal, proposal_id: UUID) -> AccessType | None:
        """What the principal may do; None when it may not see the proposal, or there is none."""
        ...

    async def grants(self, by: Principal, proposal_id: UUID) -> Sequence[Grant]:
        """Who has access, owners first, then by time."""
        ...

    async def grant(self, by: Principal, proposal_id: UUID, user_id: UUID, access_type: AccessType) -> Grant:
        """Give a user access, or other access than before. Raises NotFound for a user that never called,
        Conflict for the last owner, or when there are too many."""
        ...

    async def revoke(self, by: Principal, proposal_id: UUID, user_id: UUID) -> None:
        """Take a user's access away, if it has any; everybody may give up the own one. Raises Conflict for
        the last owner."""
        ...

    async def add_link(
        self,
        by: Principal,
        proposal_id: UUID,
        *,
        link_id: UUID,
        sha256: bytes,
        after_seq: int,
        lifetime: timedelta,
    ) -> ShareLink:
        """Keep a new link. Raises CursorOutOfRange for a cursor behind the journal's end, Conflict when
        there are too many."""
        ...

    async def links(self, by: Principal, proposal_id: UUID) -> Sequence[ShareLink]:
        """The links that are good now, newest first, without their secrets."""
        ...

    async def revoke_link(self, by: Principal, proposal_id: UUID, link_id: UUID) -> None:
        """Make a link good for nothing. Raises NotFound for one that the proposal does not have, or no
        more."""
        ...

    async def resolve_link(self, sha256: bytes) -> Principal | None:
        """The caller that a link's secret stands for; None when it is not good, or no longer."""
        ...


class ProposalAccess:
    """The use cases. `secret` makes a new one of at least 256 random bits."""

    def __init__(self, *, store: AccessStore, secret: Callable[[], str] = _secret) -> None:
        self._store, self._secret = store, secret

    async def grants(self, principal: Principal, proposal_id: UUID) -> Sequence[Grant]:
        """Who has access. For owners. Raises NotFound, PermissionDenied."""
        return await self._store.grants(principal, proposal_id)

    async def grant(
        self, principal: Principal, proposal_id: UUID, user_id: UUID, access_type: AccessType
    ) -> Grant:
        """Give a user access, or other access than before; doing so again changes nothing. For owners.

        Raises NotFound, also for a user that never called; PermissionDenied; Conflict when the proposal
        would be left without an owner, or more than `MAX_GRANTS` have access.
        """
        return await self._store.grant(principal, proposal_id, user_id, access_type)

    async def revoke(self, principal: Principal, proposal_id: UUID, user_id: UUID) -> None:
        """Take access away; open streams end soon after (`StreamAuthorization`). Everybody may give up
        their own. Raises NotFound, PermissionDenied, Conflict for the last owner."""
        await self._store.revoke(principal, proposal_id, user_id)

    async def share(
        self, principal: Principal, proposal_id: UUID, *, after_seq: int, lifetime: timedelta
    ) -> ShareLink:
        """Make a link, with its secret. For owners. Raises NotFound, PermissionDenied, Conflict when
        there are `MAX_SHARE_LINKS`, CursorOutOfRange."""
        secret = self._secret()
        made = await self._store.add_link(
            principal,
            proposal_id,
            link_id=uuid4(),
            sha256=hash_secret(secret),
            after_seq=after_seq,
            lifetime=lifetime,
        )
        return replace(made, secret=secret)

    async def links(self, principal: Principal, proposal_id: UUID) -> Sequence[ShareLink]:
        """The links that are good now. For owners. Raises NotFound, PermissionDenied."""
        return await self._store.links(principal, proposal_id)

    async def revoke_link(self, principal: Principal, proposal_id: UUID, link_id: UUID) -> None:
        """End a link; who follows by it is sent away soon after. For owners. Raises NotFound,
        PermissionDenied."""
        await self._store.revoke_link(principal, proposal_id, link_id)


def hash_secret(secret: str) -> bytes:
    """What a store keeps of a link's secret."""
    return sha256(secret.encode("utf-8", "replace")).digest()


def require_owner(access_type: AccessType | None) -> None:
    """Raises NotFound for nobody, PermissionDenied for who is no owner."""
    if access_type is None:
        raise NotFound("there is no such proposal")
    if access_type is not AccessType.OWNER:
        raise PermissionDenied("only an owner may see or change who has access")
