"""From what a caller shows to a Principal: the same code for every transport."""

from __future__ import annotations

from server.auth.tokens import TokenVerifier
from server.domain.errors import Unauthenticated
from server.domain.model import Principal
from server.domain.ports import Clock, Users

BEARER = "bearer "


class Authenticator:
    """Checks tokens and makes sure that who calls has a row among the users."""

    def __init__(self, *, verifier: TokenVerifier, users: Users, clock: Clock) -> None:
        self._verifier, self._users, self._clock = verifier, users, clock

    @property
    def ready(self) -> bool:
        """Whether tokens can be checked now."""
        return self._verifier.ready

    async def authenticate(self, token: str | None) -> Principal:
        """The caller that a bare token stands for.

        Raises Unauthenticated; PermissionDenied for a disabled user, or a subject that is another user's;
        KeysUnavailable, DatabaseUnavailable.
        """
        if not token:
            raise Unauthenticated("missing JWT token")
        principal = await self._verifier.verify(token)
        await self._users.seen(principal, self._clock.now())
        return principal

    async def authenticate_header(self, authorization: str | None) -> Principal:
        """The caller of an `Authorization` header or metadata value. Raises as `authenticate`."""
        if authorization is None or authorization[: len(BEARER)].lower() != BEARER:
            raise Unauthenticated("missing JWT token")
        return await self.authenticate(authorization[len(BEARER) :].strip())
