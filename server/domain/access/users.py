"""The people and services that have called: what a token says of one, the store that knows them, and who
finds whom (ADR 0017)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from server.domain.model import Principal

#: Maximum number of users with one e-mail address that are returned.
MAX_FOUND = 20


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a verified token says. `email`: None unless the issuer vouches for it; `expires_at`: UTC."""

    subject: str
    issuer: str
    email: str | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class User:
    """A user as others find it. email: None when no token of the user had one."""

    user_id: UUID
    email: str | None


class UserStore(Protocol):
    """The people and services that have called."""

    async def ensure_user(self, claims: TokenClaims, now: datetime) -> Principal:
        """The user of a token. The first call stores one, with an id that nobody can compute.

        Also stores the token's email if it has one. A recent check is reused, without a query. Raises
        PermissionDenied for a disabled user, and for a subject that another issuer's user has.
        """
        ...

    async def find_by_email(self, by: Principal, email: str, *, anybody: bool) -> Sequence[User]:
        """At most MAX_FOUND users with this e-mail address, ignoring case, oldest first; disabled
        ones are left out.

        anybody: whether to return all of them. Otherwise only the caller, and users whose address the caller
        sees as an owner of a proposal. Raises DatabaseUnavailable.
        """
        ...


class Directory:
    """Who finds whom by e-mail address. domains: those whose users find each other."""

    def __init__(self, users: UserStore, domains: Collection[str]) -> None:
        self._users, self._domains = users, frozenset(map(str.lower, domains))

    async def find(self, by: Principal, email: str) -> Sequence[User]:
        """The users with this address that the caller may find: none, as for an address that nobody has, if
        the caller may not. Raises DatabaseUnavailable."""
        domain = _domain(email)
        colleagues = domain in self._domains and domain == _domain(by.email or "")
        return await self._users.find_by_email(by, email, anybody=colleagues)


def _domain(email: str) -> str:
    return email.rpartition("@")[2].lower()
