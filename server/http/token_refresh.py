"""A WebSocket's client may send a new token while it follows: `{"type": "auth", "token": "…"}` (ADR 0016).

1. A token of the same user extends the stream until that token expires. One of another user ends the stream
   (4403), and so does an invalid one (4401).
2. Tokens are checked one at a time, at most one per second. All other messages are ignored.
3. While the keys or the database are not available, the stream keeps its earlier end.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from server.auth.authenticator import Authenticator
from server.domain.access.stream_authorization import StreamAuthorization
from server.domain.errors import DatabaseUnavailable, HubError, KeysUnavailable

#: Seconds between two checks of a token.
INTERVAL_S = 1.0


class TokenRefresh:
    """The new tokens of one client. `now` is a monotonic clock, in seconds."""

    def __init__(
        self, authenticator: Authenticator, authorization: StreamAuthorization, now: Callable[[], float]
    ) -> None:
        self._authenticator, self._authorization, self._now = authenticator, authorization, now
        self._task: asyncio.Task[None] | None = None
        self._next_at = 0.0

    def on_message(self, message: bytes) -> None:
        """Handle a message of the client. Never waits or fails."""
        token = token_of_message(message)
        if token is None or self._now() < self._next_at or (self._task and not self._task.done()):
            return
        self._next_at = self._now() + INTERVAL_S
        self._task = asyncio.create_task(self._refresh(token), name="token_refresh")

    async def _refresh(self, token: str) -> None:
        try:
            self._authorization.renew(await self._authenticator.authenticate(token, read_only=True))
        except (DatabaseUnavailable, KeysUnavailable):
            return
        except HubError as error:
            self._authorization.revoke(error)

    def close(self) -> None:
        """Stop checking: the stream has ended."""
        if self._task is not None:
            self._task.cancel()


def token_of_message(message: bytes) -> str | None:
    """The token of an `auth` message; None for any other."""
    if not message.startswith(b"{") or b'"auth"' not in message:
        return None
    try:
        parsed = json.loads(message)
    except (ValueError, RecursionError):
        return None
    token = parsed.get("token") if parsed.get("type") == "auth" else None
    return token if isinstance(token, str) else None
