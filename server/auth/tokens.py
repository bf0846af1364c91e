"""Tokens of development: HS256 with a shared key (settings: IDEO_JWT_SECRET).

Both ends of their life are here, so that what `ideo token` makes is what the hub accepts.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import jwt

from server.auth.claims import header_of, invalid, principal_of
from server.domain.model import Principal

#: Shortest HS256 key, in bytes (RFC 7518 section 3.2).
MIN_SECRET_BYTES = 32
_ALGORITHM = "HS256"


class TokenVerifier(Protocol):
    """Checks tokens."""

    @property
    def ready(self) -> bool:
        """Whether it has what it checks tokens with."""
        ...

    def running(self) -> AbstractAsyncContextManager[None]:
        """Inside the block it keeps itself up to date."""
        ...

    async def verify(self, token: str) -> Principal:
        """The caller that the token stands for. Raises Unauthenticated, KeysUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class SharedSecret:
    """HS256 with one shared key: development only."""

    secret: str
    issuer: str | None = None
    audience: str | None = None

    def __post_init__(self) -> None:
        """Refuse a key that is too short to be one."""
        if len(self.secret.encode()) < MIN_SECRET_BYTES:
            raise ValueError(f"an HS256 key has at least {MIN_SECRET_BYTES} bytes")

    def __repr__(self) -> str:
        return "SharedSecret(…)"

    @property
    def ready(self) -> bool:
        """Always."""
        return True

    def running(self) -> AbstractAsyncContextManager[None]:
        """Nothing: the key stays as it is."""
        return nullcontext()

    async def verify(self, token: str) -> Principal:
        """The caller that the token stands for. Raises Unauthenticated."""
        if header_of(token).algorithm != _ALGORITHM:
            raise invalid() from None
        return principal_of(
            token,
            self.secret,
            _ALGORITHM,
            issuer=self.issuer,
            audience=self.audience,
            now=datetime.now(UTC),
        )

    def issue(self, *, email: str, lifetime: timedelta, now: datetime) -> str:
        """A token for a user of development, known by the email."""
        claims: dict[str, Any] = {
            "sub": email,
            "email": email,
            "iat": int(now.timestamp()),
            "exp": int((now + lifetime).timestamp()),
        }
        if self.issuer is not None:
            claims["iss"] = self.issuer
        if self.audience is not None:
            claims["aud"] = self.audience
        return jwt.encode(claims, self.secret, algorithm=_ALGORITHM)
