"""The port that verifies tokens, and the tokens of development: HS256 with a shared key (IDEO_JWT_SECRET).

Development tokens are issued and verified here, so the hub accepts what `ideo token` issues.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

import jwt

from server.auth.claims import claims_of, header_of, invalid
from server.auth.verified_tokens import VerifiedTokens
from server.domain.access.users import TokenClaims

#: Shortest HS256 key, in bytes (RFC 7518 section 3.2).
MIN_SECRET_BYTES = 32
#: `iss` and `aud` of development tokens, unless the settings name others.
ISSUER = AUDIENCE = "ide-orchestrator"
_ALGORITHM = "HS256"


class TokenVerifier(Protocol):
    """Verifies tokens."""

    @property
    def ready(self) -> bool:
        """Whether it has keys to verify tokens with."""
        ...

    def running(self) -> AbstractAsyncContextManager[None]:
        """Keep the keys up to date inside the block."""
        ...

    async def verify(self, token: str) -> TokenClaims:
        """What the token says. Raises Unauthenticated, KeysUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class SharedSecret:
    """HS256 with one shared key: development only.

    issuer, audience: required in a token. When None, a token that is made by hand may lack them.
    """

    secret: str
    issuer: str | None = None
    audience: str | None = None
    _verified: VerifiedTokens = field(default_factory=VerifiedTokens, init=False, compare=False)

    def __post_init__(self) -> None:
        """Raise ValueError for a key that is too short."""
        if len(self.secret.encode()) < MIN_SECRET_BYTES:
            raise ValueError(f"an HS256 key must have at least {MIN_SECRET_BYTES} bytes")

    def __repr__(self) -> str:
        return "SharedSecret(…)"

    @property
    def ready(self) -> bool:
        """Always true."""
        return True

    def running(self) -> AbstractAsyncContextManager[None]:
        """Do nothing: the key does not change."""
        return nullcontext()

    async def verify(self, token: str) -> TokenClaims:
        """What the token says. Raises Unauthenticated."""
        now = datetime.now(UTC)
        claims = self._verified.find(token, self.secret, now)
        if claims is None:
            if header_of(token).algorithm != _ALGORITHM:
                raise invalid() from None
            claims = claims_of(
                token,
                self.secret,
                _ALGORITHM,
                issuer=self.issuer or ISSUER,
                audience=self.audience or AUDIENCE,
                optional=frozenset(
                    name for name, value in (("iss", self.issuer), ("aud", self.audience)) if value is None
                ),
                now=now,
            )
            self._verified.add(token, self.secret, claims)
        return claims

    def issue(
        self, *, email: str | None, lifetime: timedelta, now: datetime, subject: str | None = None
    ) -> str:
        """A token for a development user, whose email is also the subject unless that is given."""
        claims = {
            "iss": self.issuer or ISSUER,
            "aud": self.audience or AUDIENCE,
            "sub": subject or email,
            **({"email": email} if email else {}),
            "iat": int(now.timestamp()),
            "exp": int((now + lifetime).timestamp()),
        }
        return jwt.encode(claims, self.secret, algorithm=_ALGORITHM)
