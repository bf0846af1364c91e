"""Stream authorization: how long a reader may keep following after it was admitted (ADR 0016).

1. A reader gets no event after its token has expired, within the tolerance between clocks.
2. The stream of a reader that loses access, or whose user is disabled, ends within `RECHECK_S` and a
   heartbeat: one query per replica checks all readers at once.
3. While the database is away, no access is withdrawn: an open stream stays open until its token expires.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeAlias
from uuid import UUID

from server.domain.clock import Clock
from server.domain.errors import HubError, PermissionDenied, Unauthenticated
from server.domain.model import Principal

#: Tolerance between clocks for the times in tokens.
LEEWAY = timedelta(seconds=30)
_LAST = datetime.max.replace(tzinfo=UTC) - LEEWAY
#: Seconds between two checks of whether all readers may still follow.
RECHECK_S = 20.0

#: A caller (a user or a share link) and the thread that it follows.
CallerAndThread: TypeAlias = tuple[UUID, UUID]


class StreamAccess(Protocol):
    """Who may see which thread."""

    async def filter_authorized(self, pairs: Sequence[CallerAndThread]) -> set[CallerAndThread]:
        """The pairs whose caller may see the thread and is not a disabled user."""
        ...


class StreamAuthorization:
    """One reader's right to follow. on_changed: called with the thread's id when it ends, or will end earlier
    than before, to wake readers."""

    def __init__(
        self, principal: Principal, thread_id: UUID, clock: Clock, *, on_changed: Callable[[UUID], None]
    ) -> None:
        self.caller_and_thread: CallerAndThread = (principal.user_id, thread_id)
        self._clock, self._on_changed = clock, on_changed
        #: When it ends unless it is renewed; None if it does not end.
        self.ends_at = _end_of(principal)
        self._error: HubError | None = None

    def check(self) -> None:
        """Raise Unauthenticated after the token has expired, or the error of `revoke`."""
        if self._error is not None:
            raise self._error
        if self.ends_at is not None and self._clock.now() > self.ends_at:
            raise Unauthenticated(
                "the token has expired: reconnect with a new one and the last seq that you have"
            )

    def renew(self, principal: Principal) -> None:
        """Have the right end when a newer token expires. Raises PermissionDenied for another user's token."""
        if principal.user_id != self.caller_and_thread[0]:
            raise PermissionDenied("the new token belongs to another user")
        before, self.ends_at = self.ends_at, _end_of(principal)
        if self.ends_at is not None and (before is None or self.ends_at < before):
            self._on_changed(self.caller_and_thread[1])

    def revoke(self, error: HubError) -> None:
        """End the right; the reader's next step raises the error."""
        self._error = error
        self._on_changed(self.caller_and_thread[1])


def _end_of(principal: Principal) -> datetime | None:
    # Some issuers write the last second of the calendar into a token that shall not expire.
    return None if principal.expires_at is None else min(principal.expires_at, _LAST) + LEEWAY


class AuthorizationRegistry:
    """The authorizations of all readers of this replica."""

    def __init__(self, access: StreamAccess, clock: Clock, *, on_changed: Callable[[UUID], None]) -> None:
        self._access, self._clock, self._on_changed = access, clock, on_changed
        self._open: set[StreamAuthorization] = set()

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, principal: Principal, thread_id: UUID) -> StreamAuthorization:
        """The authorization of a reader, rechecked until it is dismissed."""
        authorization = StreamAuthorization(principal, thread_id, self._clock, on_changed=self._on_changed)
        self._open.add(authorization)
        return authorization

    def dismiss(self, authorization: StreamAuthorization) -> None:
        """Recheck it no longer: its reader is gone."""
        self._open.discard(authorization)

    async def recheck(self) -> None:
        """Revoke the authorizations of callers that lost access. Raises DatabaseUnavailable."""
        checked = list(self._open)
        if not checked:
            return
        pairs = list({authorization.caller_and_thread for authorization in checked})
        authorized = await self._access.filter_authorized(pairs)
        for authorization in checked:
            if authorization.caller_and_thread not in authorized:
                authorization.revoke(PermissionDenied("you may no longer follow this refinement"))
