"""From what a caller shows to a Principal: the same code for every transport."""

from __future__ import annotations

from server.auth.tokens import TokenVerifier
from server.domain.access.sharing import MAX_SHARE_CHARS, SHARE_PREFIX, AccessStore, hash_secret
from server.domain.access.users import Users
from server.domain.clock import Clock
from server.domain.errors import PermissionDenied, Unauthenticated
from server.domain.model import Principal

BEARER = "bearer "


class Authenticator:
    """Checks tokens and makes sure that who calls has a row among the users; knows share links, too.

    A share link is taken only where the call says that it does nothing but read one proposal.
    """

    def __init__(self, *, verifier: TokenVerifier, users: Users, links: AccessStore, clock: Clock) -> None:
        self._verifier, self._users, self._links, self._clock = verifier, users, links, clock

    @property
    def ready(self) -> bool:
        """Whether tokens can be checked now."""
        return self._verifier.ready

    async def authenticate(self, token: str | None, *, reads: bool = False) -> Principal:
        """The caller that a bare token, or with `reads` the secret of a share link, stands for.

        Raises Unauthenticated; PermissionDenied for a disabled user, a subject that is another user's, or
        a link where more than reading is asked for; KeysUnavailable, DatabaseUnavailable.
        """
        if not token:
            raise Unauthenticated("missing JWT token")
        if token.startswith(SHARE_PREFIX):
            if not reads:
                raise PermissionDenied("a share link only reads its proposal and its refinement")
            return await self._opened(token)
        principal = await self._verifier.verify(token)
        await self._users.ensure_user(principal, self._clock.now())
        return principal

    async def _opened(self, secret: str) -> Principal:
        found = None
        if len(secret) <= MAX_SHARE_CHARS:
            found = await self._links.resolve_link(hash_secret(secret))
        if found is None:
            raise Unauthenticated("the share link is not valid, or was withdrawn")
        return found

    async def authenticate_header(self, authorization: str | None, *, reads: bool = False) -> Principal:
        """The caller of an `Authorization` header or metadata value. Raises as `authenticate`."""
        if authorization is None or authorization[: len(BEARER)].lower() != BEARER:
            raise Unauthenticated("missing JWT token")
        return await self.authenticate(authorization[len(BEARER) :].strip(), reads=reads)
