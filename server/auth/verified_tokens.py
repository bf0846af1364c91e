"""Tokens that were verified: a signature is checked once, not at every call of its user.

A token is remembered by its digest, so that none is in memory longer than its call.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from server.domain.access.stream_authorization import LEEWAY
from server.domain.access.users import TokenClaims

#: Tokens that are remembered, about 1 KB each. Of more, the oldest are verified again.
MAX_TOKENS = 10_000


class VerifiedTokens:
    """The claims of tokens that were verified with the current keys.

    Only valid tokens are remembered, so nobody can fill it without a key. `keys`: what the tokens were
    verified with, an object that is replaced when the keys change.
    """

    def __init__(self, *, max_tokens: int = MAX_TOKENS) -> None:
        self._max_tokens = max_tokens
        self._keys: object = None
        self._claims: dict[bytes, TokenClaims] = {}

    def find(self, token: str, keys: object, now: datetime) -> TokenClaims | None:
        """The token's claims; None if it must be verified, because it is unknown or has expired."""
        if keys is not self._keys:
            return None
        claims = self._claims.get(_digest(token))
        if claims is None or claims.expires_at is None or claims.expires_at <= now - LEEWAY:
            return None
        return claims

    def add(self, token: str, keys: object, claims: TokenClaims) -> None:
        """Remember the claims of a token that was verified with `keys`."""
        if keys is not self._keys:
            self._keys, self._claims = keys, {}
        while len(self._claims) >= self._max_tokens:
            del self._claims[next(iter(self._claims))]
        self._claims[_digest(token)] = claims


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
