"""StreamAuthorization: how long a reader may go on following, once it was let in (ADR 0016).

1. A reader whose token ends is told no event after that, but for the tolerance between clocks.
2. A reader who loses access, or whose user is disabled, is told so within `RECHECK_S` and a sign of life:
   one query per replica asks for all readers at once.
3. While the database is away, nobody loses access: an open stream stays open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from server.domain.clock import Clock
from server.domain.errors import HubError, PermissionDenied, Unauthenticated
from server.domain.model import Principal

#: Tolerance for clocks that differ, in what tokens say of time.
LEEWAY = timedelta(seconds=30)
#: Between two looks at whether all readers may still follow, in seconds.
RECHECK_S = 20.0

#: A caller (a user, or a share link) and the thread that it follows.
Pair = tuple[UUID, UUID]


class Access(Protocol):
    """Who may see which thread."""

    async def still(self, pairs: Sequence[Pair]) -> set[Pair]:
        """Those of the pairs whose caller is no disabled user and may see the thread."""
        ...


class StreamAuthorization:
    """One reader's leave to follow. `revoked`: called when it ends, to wake the reader."""

    def __init__(self, admissions: AuthorizationRegistry, principal: Principal, thread_id: UUID) -> None:
        self._admissions = admissions
        self._ends_at = _end_of(principal)
        self._ended: HubError | None = None
        self.pair: Pair = (principal.user_id, thread_id)
        self.revoked: Callable[[], None] = lambda: None
        #: Called once, when the reader is gone.
        self.closed: Callable[[], None] = lambda: None

    def check(self) -> None:
        """Raise Unauthenticated once the token has ended, PermissionDenied once access is lost; or
        what it was ended with."""
        if self._ended is not None:
            raise self._ended
        if self._ends_at is not None and self._admissions.clock.now() > self._ends_at:
            raise Unauthenticated(
                "the token has expired: come back with a new one, and the last seq you have"
            )

    def renew(self, principal: Principal) -> None:
        """Another token was shown: go on until that one's end. Raises PermissionDenied for another user's."""
        if principal.user_id != self.pair[0]:
            raise PermissionDenied("the new token belongs to another user")
        self._ends_at = _end_of(principal)

    def end(self, error: HubError) -> None:
        """Let the reader follow no longer."""
        self._ended = error
        self.revoked()

    def close(self) -> None:
        """The reader is gone. May be called twice."""
        if self in self._admissions.open:
            self._admissions.open.discard(self)
            self.closed()


def _end_of(principal: Principal) -> datetime | None:
    return None if principal.expires_at is None else principal.expires_at + LEEWAY


class AuthorizationRegistry:
    """The readers of this replica."""

    def __init__(self, access: Access, clock: Clock) -> None:
        self._access, self.clock = access, clock
        self.open: set[StreamAuthorization] = set()

    def admit(self, principal: Principal, thread_id: UUID) -> StreamAuthorization:
        """The admission of a reader that was found to have access; close it with the reader."""
        admission = StreamAuthorization(self, principal, thread_id)
        self.open.add(admission)
        return admission

    async def recheck(self) -> None:
        """Ask whether all may go on, and tell those that may not. Raises DatabaseUnavailable."""
        asked = list(self.open)
        if not asked:
            return
        still = await self._access.still(list({admission.pair for admission in asked}))
        for admission in asked:
            if admission.pair not in still:
                admission.end(PermissionDenied("you may no longer follow this refinement"))
