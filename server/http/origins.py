"""Which pages may call: one policy for HTTP, its preflights and WebSockets. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_LOOPBACK = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?")


class Origins:
    """The origins whose pages may call: those that are listed and, with `loopback`, all of this machine.

    Scheme, host and port must be equal, ignoring case.
    """

    def __init__(self, listed: Iterable[str], *, loopback: bool = False) -> None:
        self._listed = frozenset(each.lower() for each in listed)
        self._loopback = loopback

    def allow(self, origin: str) -> bool:
        """Whether the origin's pages may call."""
        if not origin.isascii():
            return False
        lowered = origin.lower()
        return lowered in self._listed or (self._loopback and _LOOPBACK.fullmatch(lowered) is not None)

    def allow_request(self, origins: Sequence[str]) -> bool:
        """Whether a request with these `Origin` headers may open a WebSocket: it has one allowed, or none.

        Browsers always send an origin with it, so a request without one does not come from a foreign page.
        """
        return not origins or (len(origins) == 1 and self.allow(origins[0]))
