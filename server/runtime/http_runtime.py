"""What the runtimes that are called over HTTP have in common."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from server.runtime.breaker import Breaker
from server.runtime.calls import RuntimeCalls


class HttpRuntime:
    """The calls of a runtime, and the breaker through which they and the opening of a stream go."""

    def __init__(self, calls: RuntimeCalls, breaker: Breaker) -> None:
        self._calls, self.breaker = calls, breaker

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections of calls. A stream is closed by its caller."""
        await self._calls.close()

    def check_available(self) -> None:
        """Raise RuntimeUnavailable while calls are refused without being tried."""
        self.breaker.check()
