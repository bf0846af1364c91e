"""What ends because clients have left, or because the hub stops: so much of it in one turn of the event loop
(ADR 0057).

When a client with thousands of calls disconnects, or hundreds of clients at once, everybody else would wait
for the ends of all of them. A hub that stops hands its runs over and answers probes while its readers end.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

#: Ends in one turn of the loop: 1 to 3 ms.
ENDS_PER_TURN = 20


class Endings:
    """The ends that wait for their turn, on one event loop."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()

    def add(self, end: Callable[[], None]) -> None:
        """Call `end` in one of the next turns of the loop."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._end_some)
        self._waiting.append(end)

    def _end_some(self) -> None:
        try:
            for _ in range(min(ENDS_PER_TURN, len(self._waiting))):
                self._waiting.popleft()()
        finally:
            # Also when one of them fails, which the loop reports: the others have their turn.
            if self._waiting:
                asyncio.get_running_loop().call_soon(self._end_some)
