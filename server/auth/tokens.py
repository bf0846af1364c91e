"""Tokens: from a bearer token to what it claims. The key decides the algorithm, never the token.

Development tokens are HS256 with a shared key (settings: IDEO_JWT_SECRET); both ends of their life
are here, so that what `ideo token` makes is what the hub accepts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import NAMESPACE_URL, UUID, uuid5

import jwt

from server.domain.errors import Unauthenticated
from server.domain.model import Principal

#: Longest token that is looked at, in characters.
MAX_TOKEN_CHARS = 8192
#: Tolerance for clocks that differ, in seconds.
LEEWAY_S = 30
#: Shortest HS256 key, in bytes (RFC 7518 section 3.2).
MIN_SECRET_BYTES = 32


class TokenVerifier(Protocol):
    """Checks a token."""

    async def verify(self, token: str) -> Principal:
        """The caller that the token stands for. Raises Unauthenticated."""
        ...


def user_id_of(subject: str, issuer: str | None) -> UUID:
    """The user id of a token's subject: the subject itself if it is a UUID, else one made of it."""
    try:
        return UUID(subject)
    except ValueError:
        return uuid5(NAMESPACE_URL, f"{issuer or 'ide-orchestrator'}|{subject}")


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

    async def verify(self, token: str) -> Principal:
        """The caller that the token stands for. Raises Unauthenticated."""
        if len(token) > MAX_TOKEN_CHARS:
            raise Unauthenticated("the token is too long")
        try:
            claims = jwt.decode(
                token,
                self.secret,
                algorithms=["HS256"],
                issuer=self.issuer,
                audience=self.audience,
                leeway=LEEWAY_S,
                options={"require": ["exp", "sub"], "verify_aud": self.audience is not None},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("the token has expired: get a new one") from None
        except (jwt.InvalidTokenError, ValueError, RecursionError):
            raise Unauthenticated("the token is not valid") from None
        return principal_of(claims, self.issuer)

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
        return jwt.encode(claims, self.secret, algorithm="HS256")


def principal_of(claims: Mapping[str, Any], issuer: str | None) -> Principal:
    """The caller of checked claims. Raises Unauthenticated for a subject that is none."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= 255 or "\x00" in subject:
        raise Unauthenticated("the token names no subject")
    email = claims.get("email")
    return Principal(
        user_id=user_id_of(subject, issuer),
        subject=subject,
        email=email if isinstance(email, str) and "@" in email and "\x00" not in email else None,
        expires_at=datetime.fromtimestamp(claims["exp"], UTC),
    )
