"""The people and services that have called: what a token says of one, and the store that knows them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from server.domain.model import Principal


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a verified token says. `email`: None unless the issuer vouches for it; `expires_at`: UTC."""

    subject: str
    issuer: str
    email: str | None = None
    expires_at: datetime | None = None


class UserStore(Protocol):
    """The people and services that have called."""

    async def ensure_user(self, claims: TokenClaims, now: datetime) -> Principal:
        """The user of a token. The first call stores one, with an id that nothing tells.

        Also stores the token's email if it has one. A recent check is reused, without a query. Raises
        PermissionDenied for a disabled user, and for a subject that another issuer's user has.
        """
        ...
