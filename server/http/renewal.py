"""A socket's client may bring a new token while it follows: `{"type": "auth", "token": "…"}` (ADR 0016).

1. A token of the same user prolongs the stream to that token's end; another user's ends it (4403), and one
   that is not valid ends it (4401).
2. One token is looked at at a time, and one a second at most; whatever else a client says is dropped.
3. While keys or database are away, the stream keeps the end that it had.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from server.auth.authenticator import Authenticator
from server.domain.access.stream_authorization import StreamAuthorization
from server.domain.errors import DatabaseUnavailable, HubError, KeysUnavailable

#: Seconds between two tokens that are looked at.
PAUSE_S = 1.0


class Renewal:
    """What one client says, as far as it is about its token. `now`: seconds that only grow."""

    def __init__(
        self, authenticator: Authenticator, authorization: StreamAuthorization, now: Callable[[], float]
    ) -> None:
        self._authenticator, self._authorization, self._now = authenticator, authorization, now
        self._task: asyncio.Task[None] | None = None
        self._next_at = 0.0

    def said(self, message: bytes) -> None:
        """Take in a message. Never waits or fails."""
        token = said_token(message)
        if token is None or self._now() < self._next_at or (self._task and not self._task.done()):
            return
        self._next_at = self._now() + PAUSE_S
        self._task = asyncio.create_task(self._renew(token), name="renewal")

    async def _renew(self, token: str) -> None:
        try:
            self._authorization.renew(await self._authenticator.authenticate(token, reads=True))
        except (DatabaseUnavailable, KeysUnavailable):
            return
        except HubError as error:
            self._authorization.revoke(error)

    def close(self) -> None:
        """The stream is over."""
        if self._task is not None:
            self._task.cancel()


def said_token(message: bytes) -> str | None:
    """The token of an `auth` message; None for any other."""
    if not message.startswith(b"{") or b'"auth"' not in message:
        return None
    try:
        told = json.loads(message)
    except (ValueError, RecursionError):
        return None
    token = told.get("token") if told.get("type") == "auth" else None
    return token if isinstance(token, str) else None
