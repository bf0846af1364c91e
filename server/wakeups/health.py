"""What both carriers of wake-ups share: health, the self-test, and sessions that restart forever."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from uuid import uuid4

from server.domain.retry import Backoff

_logger = logging.getLogger(__name__)

#: Seconds between two self-tests, and seconds within which one must pass.
SELF_TEST_S, ANSWER_S = 10.0, 5.0
#: Pauses between two sessions, in seconds; they double from the first to the last.
RETRY_FIRST_S, MAX_RETRY_S = 0.1, 10.0


class CarrierHealth:
    """Whether what others announce arrives here.

    Receiving is tested, not assumed: a nonce is sent periodically and must come back.
    """

    def __init__(self, *, answer_s: float, max_retry_s: float) -> None:
        self.healthy = False
        self._answer_s = answer_s
        self._backoff = Backoff(RETRY_FIRST_S, max_retry_s)
        self._nonce = ""
        self._nonce_received = asyncio.Event()

    async def run_sessions(
        self, session: Callable[[], Awaitable[str]], outage_errors: tuple[type[Exception], ...]
    ) -> None:
        """Run one session after another, forever, with pauses between them.

        A session returns why it ended, or raises one of the errors that mean that the carrier is unavailable.
        """
        while True:
            try:
                reason = await session()
            except outage_errors as error:
                reason = type(error).__name__
            if self.healthy:
                self._backoff.reset()
                self.healthy = False
                _logger.warning("wakeups_do_not_arrive: %s", reason)
            await asyncio.sleep(self._backoff.next_pause_s())

    async def self_test(self, send: Callable[[str], Awaitable[None]]) -> bool:
        """Send a nonce. Returns whether `on_nonce` gets it in time."""
        self._nonce = uuid4().hex
        self._nonce_received.clear()
        await send(self._nonce)
        passed = await set_within(self._nonce_received, self._answer_s)
        if passed and not self.healthy:
            self.healthy = True
            _logger.info("wakeups_arrive")
        return passed

    def on_nonce(self, nonce: str) -> bool:
        """A nonce arrived, from this process or another. Returns whether it is the last one of this."""
        own = nonce == self._nonce
        if own:
            self._nonce_received.set()
        return own


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event. Returns whether it was set in time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
