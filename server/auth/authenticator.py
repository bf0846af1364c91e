"""Authentication: from a token or the secret of a share link to a Principal. All transports use it."""

from __future__ import annotations

from server.auth.tokens import TokenVerifier
from server.domain.access.sharing import MAX_SHARE_CHARS, SHARE_PREFIX, AccessStore, hash_secret
from server.domain.access.users import UserStore
from server.domain.clock import Clock
from server.domain.errors import PermissionDenied, Unauthenticated
from server.domain.model import Principal

BEARER = "bearer "


class Authenticator:
    """Checks tokens, and makes sure that their users are stored. Also checks the secrets of share links.

    A share link authenticates only calls that read.
    """

    def __init__(
        self, *, verifier: TokenVerifier, users: UserStore, links: AccessStore, clock: Clock
    ) -> None:
        self._verifier, self._users, self._links, self._clock = verifier, users, links, clock

    @property
    def ready(self) -> bool:
        """Whether tokens can be checked now."""
        return self._verifier.ready

    async def authenticate(self, token: str | None, *, read_only: bool = False) -> Principal:
        """The caller of a token, without its scheme, or of the secret of a share link.

        read_only: the call only reads, so a share link is enough. Raises Unauthenticated; PermissionDenied
        for a disabled user, a subject that belongs to another user, and a link for a call that may write;
        KeysUnavailable, DatabaseUnavailable.
        """
        if not token:
            raise Unauthenticated("missing JWT token")
        if token.startswith(SHARE_PREFIX):
            if not read_only:
                raise PermissionDenied("a share link can only read its proposal and its refinement")
            return await self._resolve_link(token)
        principal = await self._verifier.verify(token)
        await self._users.ensure_user(principal, self._clock.now())
        return principal

    async def _resolve_link(self, secret: str) -> Principal:
        caller = None
        if len(secret) <= MAX_SHARE_CHARS:
            caller = await self._links.resolve_link(hash_secret(secret))
        if caller is None:
            raise Unauthenticated("the share link is not valid, or was revoked")
        return caller

    async def authenticate_header(self, authorization: str | None, *, read_only: bool = False) -> Principal:
        """The caller of an `Authorization` header or metadata value. Raises as `authenticate`."""
        if authorization is None or authorization[: len(BEARER)].lower() != BEARER:
            raise Unauthenticated("missing JWT token")
        return await self.authenticate(authorization[len(BEARER) :].strip(), read_only=read_only)
