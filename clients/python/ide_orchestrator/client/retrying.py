"""When to try again: pauses that grow, calls that are repeated, and tokens that are renewed."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ide_orchestrator.client.errors import HubError, NotAuthenticated, Unavailable

T = TypeVar("T")

#: A token, or what returns a valid one. It is called before each call and each connection, so it keeps a
#: token until that is about to expire.
Token = str | Callable[[], str | Awaitable[str]]

#: Seconds up to which the first pause lasts, and each later one.
FIRST_PAUSE_S, MAX_PAUSE_S = 0.2, 5.0
#: Seconds for which a call is repeated. The runs of a replica that died are taken over within 20.
RETRY_FOR_S = 30.0

_SHARE_LINK = "ideo_share_"


class Backoff:
    """Pauses with full jitter: each is a random part of a limit that doubles up to `max_s`, so that
    clients that lost the same server do not come back together."""

    def __init__(self, first_s: float = FIRST_PAUSE_S, max_s: float = MAX_PAUSE_S) -> None:
        self._first_s, self._max_s = first_s, max_s
        #: Attempts in a row that failed.
        self.failures = 0

    def next_pause_s(self) -> float:
        """Seconds to wait after another attempt that failed."""
        limit = min(self._first_s * 2**self.failures, self._max_s)
        self.failures += 1
        return random.uniform(0, limit)  # noqa: S311 (not a secret)

    def reset(self) -> None:
        """Begin again with the first pause."""
        self.failures = 0


async def repeated(attempt: Callable[[], Awaitable[T]]) -> T:
    """The result of a call that does its work once, however often it is made.

    Raises the call's error when it is not temporary, and after RETRY_FOR_S.
    """
    now = asyncio.get_running_loop().time
    deadline, backoff = now() + RETRY_FOR_S, Backoff()
    while True:
        try:
            return await attempt()
        except Unavailable as error:
            pause_s = max(backoff.next_pause_s(), error.retry_after_s or 0)
            # Each attempt to reach the runtime stores another proposal.
            if error.code.startswith("runtime_") or now() + pause_s > deadline:
                raise
        await asyncio.sleep(pause_s)


class Credentials:
    """A caller's token, which is renewed when it is a callable's."""

    def __init__(self, token: Token) -> None:
        self._token = token
        self.renewable = callable(token)
        #: Whether the token was a share link's, which may hide the first events.
        self.shared = False

    async def token(self) -> str:
        """A valid token."""
        given = self._token() if callable(self._token) else self._token
        token = await given if inspect.isawaitable(given) else given
        self.shared = token.startswith(_SHARE_LINK)
        return token

    async def with_token(self, attempt: Callable[[str], Awaitable[T]]) -> T:
        """The result of a call with the token; when the hub does not accept it, with a new one."""
        try:
            return await attempt(await self.token())
        except NotAuthenticated:
            if not self.renewable:
                raise
        return await attempt(await self.token())


def authorization(token: str) -> dict[str, str]:
    """The header for a token; none for an empty one, which cannot be sent."""
    return {"Authorization": f"Bearer {token}"} if token else {}


def is_temporary(error: HubError) -> bool:
    """Whether a stream that ended with this error may be opened again from its cursor."""
    return isinstance(error, Unavailable) or error.code == "internal"
