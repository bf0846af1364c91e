"""Access: who may see a proposal and its thread, who may act on them, and links that show them to anyone
who has the link (ADR 0017).

This module makes and revokes grants and links. `server.auth.authenticator` checks a link's secret, and the
queries of the stores check the access.

    viewer  reads the proposal, the refinement and its events
    editor  also answers the agent, cancels the run, decides about the proposal, and writes to the draft
    owner   also grants and revokes access; a proposal always has one

The secret of a share link identifies a separate caller, which is a viewer of one proposal and can only read
it. A caller that may not see a proposal gets the same answer as for one that does not exist.
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

from server.domain.access.quotas import Quotas
from server.domain.errors import NotFound, PermissionDenied
from server.domain.model import Principal

#: Begins the secret of every share link: it differs from a token, and secret scanners find it.
SHARE_PREFIX = "ideo_share_"
#: Longest text that can be the secret of a share link, in characters.
MAX_SHARE_CHARS = 64
#: Default and longest lifetime of a share link.
SHARE_LIFETIME, MAX_SHARE_LIFETIME = timedelta(days=7), timedelta(days=90)
#: Maximum number of users with access to one proposal, and of valid links to it.
MAX_GRANTS, MAX_SHARE_LINKS = 200, 50


def _new_secret() -> str:
    return SHARE_PREFIX + token_urlsafe(32)  # 256 bits


class AccessType(Enum):
    """What a caller may do; the value is the word in the database and over HTTP."""

    OWNER = "owner"
    EDITOR = "editor"
    VIEWER = "viewer"

    @property
    def can_act(self) -> bool:
        """Whether it allows more than reading."""
        return self is not AccessType.VIEWER


@dataclass(frozen=True, slots=True)
class Grant:
    """One user's access to a proposal. `email`: the user's, for those who may know it; None otherwise.

    The user may know it, and owners once the user has accepted the grant, or if the user started the
    refinement. It is from the latest call whose token had one.
    """

    proposal_id: UUID
    user_id: UUID
    access_type: AccessType
    granted_at: datetime
    email: str | None = None


@dataclass(frozen=True, slots=True)
class ShareLink:
    """A link to a proposal, valid while its maker is an owner. `after_seq`: it shows the events after this
    one. `secret`: present once, when the link is created."""

    id: UUID
    proposal_id: UUID
    thread_id: UUID
    after_seq: int
    created_by_user_id: UUID
    created_at: datetime
    expires_at: datetime
    secret: str | None = None


class AccessStore(Protocol):
    """Grants and share links. Times are the store's own. Each change is one transaction with the check that
    the caller, `by`, is an owner of the proposal at that moment.

    Except for `access_type`, `accept` and `resolve_link`, methods raise NotFound when the caller may not see
    the proposal, and PermissionDenied when it may see it but is not an owner.
    """

    async def access_type(self, principal: Principal, proposal_id: UUID) -> AccessType | None:
        """What the principal may do; None when the proposal does not exist or is not visible to it."""
        ...

    async def grants(self, by: Principal, proposal_id: UUID) -> Sequence[Grant]:
        """Who has access, owners first, then by time."""
        ...

    async def grant(self, by: Principal, proposal_id: UUID, user_id: UUID, access_type: AccessType) -> Grant:
        """Give a user access, or change it; the same grant again changes nothing.

        The id may be nobody's: the answer does not tell. The links of a user who stops being an owner are
        deleted. Also raises Conflict when the proposal would be left without an owner, or when more than
        `MAX_GRANTS` users would have access.
        """
        ...

    async def accept(self, principal: Principal, proposal_id: UUID) -> Grant:
        """Accept the grant that the principal was given: owners then see its email. Accepting again changes
        nothing. Raises NotFound for a principal without a grant."""
        ...

    async def revoke(self, by: Principal, proposal_id: UUID, user_id: UUID) -> None:
        """Take away a user's access, if any, with the links that the user made; open streams of both end
        soon after (`StreamAuthorization`). Every user may give up their own. Raises Conflict for the last
        owner."""
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
        """Store a new link, and delete the proposal's expired ones.

        Raises CursorOutOfRange for a cursor after the journal's end, Conflict when there are
        `MAX_SHARE_LINKS`.
        """
        ...

    async def links(self, by: Principal, proposal_id: UUID) -> Sequence[ShareLink]:
        """The links that are valid now, newest first, without their secrets."""
        ...

    async def revoke_link(self, by: Principal, proposal_id: UUID, link_id: UUID) -> None:
        """Invalidate a link; streams that use it end soon after.

        Raises NotFound when the proposal has no such valid link.
        """
        ...

    async def resolve_link(self, sha256: bytes) -> Principal | None:
        """The caller that a link's secret identifies; None when it is not, or no longer, valid."""
        ...


class Sharing:
    """The use cases of giving access: to a user, or to everyone who has a link. Both count as creations.

    `make_secret` returns a new secret of at least 256 random bits.
    """

    def __init__(
        self, store: AccessStore, quotas: Quotas, *, make_secret: Callable[[], str] = _new_secret
    ) -> None:
        self._store, self._quotas, self._make_secret = store, quotas, make_secret

    async def grant(
        self, principal: Principal, proposal_id: UUID, user_id: UUID, access_type: AccessType
    ) -> Grant:
        """Give a user access, or change it. For owners. Raises LimitReached, and as `AccessStore.grant`."""
        await self._quotas.count_creation(principal.quota_id)
        return await self._store.grant(principal, proposal_id, user_id, access_type)

    async def share(
        self, principal: Principal, proposal_id: UUID, *, after_seq: int, lifetime: timedelta
    ) -> ShareLink:
        """Create a link, with its secret. For owners. Raises LimitReached, NotFound, PermissionDenied,
        Conflict when there are `MAX_SHARE_LINKS`, CursorOutOfRange."""
        await self._quotas.count_creation(principal.quota_id)
        secret = self._make_secret()
        link = await self._store.add_link(
            principal,
            proposal_id,
            link_id=uuid4(),
            sha256=hash_secret(secret),
            after_seq=after_seq,
            lifetime=lifetime,
        )
        return replace(link, secret=secret)


def hash_secret(secret: str) -> bytes:
    """The hash of a link's secret, which is what stores keep."""
    return sha256(secret.encode("utf-8", "replace")).digest()


def require_owner(access_type: AccessType | None) -> None:
    """Raises NotFound without access, PermissionDenied with less than an owner's access."""
    if access_type is None:
        raise NotFound("no such proposal")
    if access_type is not AccessType.OWNER:
        raise PermissionDenied("only an owner may see or change who has access")
