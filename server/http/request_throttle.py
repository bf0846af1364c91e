"""How many requests go on per second: further ones of a caller, and further refused ones, wait (ADR 0018)."""

from __future__ import annotations

from collections.abc import Awaitable

from litestar.types import Scope

from server.domain.access.cut_offs import CutOffObserver
from server.domain.access.throttle import REFUSED, Counted, Throttle, counted_with
from server.domain.errors import ClientTooSlow, PermissionDenied, Unauthenticated
from server.domain.model import Principal
from server.http.connection import ClientGone, connection_of

#: The longest wait in seconds: less than clients usually wait for an answer.
MAX_WAIT_S = 5.0
#: Requests that wait: a tenth of the connections that a port has by default.
MAX_WAITING = 1_000


class RequestThrottle:
    """Delays the requests and upgrades of one HTTP interface."""

    def __init__(self, observer: CutOffObserver) -> None:
        self._throttle = Throttle(observer, max_wait_s=MAX_WAIT_S, max_waiting=MAX_WAITING)

    async def identified(self, scope: Scope, identify: Awaitable[Principal]) -> Principal:
        """The caller, once the request may go on.

        Raises as `identify`, LimitReached, ClientTooSlow when the client leaves meanwhile, ShuttingDown.
        """
        try:
            caller = await identify
        except (Unauthenticated, PermissionDenied):
            await self._wait(scope, REFUSED)
            raise
        connection_of(scope).identified(caller.memory_id)  # type: ignore[arg-type]
        await self._wait(scope, counted_with(caller))
        return caller

    async def _wait(self, scope: Scope, counted: Counted) -> None:
        async def pause(seconds: float) -> None:
            try:
                await connection_of(scope).pause(seconds)  # type: ignore[arg-type]
            except ClientGone:
                raise ClientTooSlow("the client left before its turn") from None

        await self._throttle.wait(counted, pause=pause)
