"""The calls of webhooks: claim what is due, sign it, send it, record what became of it.

Each replica makes a limited number of calls at a time, only a few to one receiver, and a quarter at most for
one owner, whose receivers may all answer slowly. A failing receiver gets one attempt at a time, and failing
receivers have places of their own, so that the others need not wait for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from server.domain.clock import Clock
from server.domain.crash_points import crash_point
from server.domain.errors import DatabaseUnavailable
from server.domain.webhooks.schedule import pause_s, rest_s
from server.domain.webhooks.signing import signed_headers
from server.domain.webhooks.store import AttemptFailed, Claim, DeliveryStore
from server.domain.webhooks.targets import BadTarget, Target, parse_target

#: Why an attempt can fail.
ATTEMPT_FAILURES = ("status", "timeout", "connection", "tls", "address")
#: Concurrent calls of one replica: to receivers that answer, and to those whose last attempt failed.
PLACES, FAILING_PLACES = 64, 16
#: Concurrent calls of one replica to one receiver.
MAX_PER_WEBHOOK = 4
#: Part of the places that the webhooks of one owner may have.
OWNER_SHARE = 4
#: Seconds between two looks for what is due, when nothing is being sent.
POLL_S = 1.0
#: Seconds for which a claim lasts: longer than an attempt, which has 15 s, and its recording take.
LEASE_S = 20.0
#: Seconds between two sweeps of old deliveries.
SWEEP_S = 600.0

_GONE = 410

_logger = logging.getLogger(__name__)


class SendFailed(Exception):
    """A receiver did not answer. `failure`: one of ATTEMPT_FAILURES."""

    def __init__(self, failure: str) -> None:
        super().__init__(failure)
        self.failure = failure


class Sender(Protocol):
    """Makes calls."""

    async def send(self, target: Target, headers: Mapping[str, str], body: bytes) -> int:
        """The HTTP status of the answer to a POST. Raises SendFailed."""
        ...


class DeliveryObserver:
    """Called when something happens to a delivery. Every method may be left as it is here."""

    def attempted(self, claim: Claim, failure: str, http_status: int, lag_s: float) -> None:
        """An attempt was made, `lag_s` after the event. failure: one of ATTEMPT_FAILURES; empty when it was
        delivered."""

    def gave_up(self, count: int) -> None:
        """This many deliveries will not be tried again."""

    def disabled(self, claim: Claim) -> None:
        """The claim's webhook was disabled, because its receiver failed for too long or is gone."""


class Deliveries:
    """The calls that this replica makes. encode: makes the body of a claim's call."""

    def __init__(
        self,
        store: DeliveryStore,
        sender: Sender,
        encode: Callable[[Claim], bytes],
        clock: Clock,
        observer: DeliveryObserver,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store, self._sender, self._encode = store, sender, encode
        self._clock, self._observer, self._jitter = clock, observer, jitter
        #: The calls that are being made, with whether their webhooks were failing.
        self._open: dict[asyncio.Task[None], tuple[Claim, bool]] = {}

    async def deliver_forever(self) -> None:
        """Make the calls that are due until cancelled. What is then being sent becomes due for others."""
        try:
            while True:
                await self._begin_due()
                await self._wait()
        finally:
            await self._stop()

    async def sweep(self) -> None:
        """Give up and remove old deliveries. Raises DatabaseUnavailable."""
        self._observer.gave_up(await self._store.sweep())

    async def _begin_due(self) -> None:
        """Begin as many calls as there are places for."""
        for failing, places in ((False, PLACES), (True, FAILING_PLACES)):
            taken = [claim for claim, was_failing in self._open.values() if was_failing == failing]
            if len(taken) >= places:
                continue
            try:
                claims = await self._store.claim(
                    failing=failing,
                    limit=places - len(taken),
                    busy=Counter(claim.webhook_id for claim in taken),
                    max_per_webhook=MAX_PER_WEBHOOK,
                    max_per_owner=places // OWNER_SHARE,
                    lease_s=LEASE_S,
                )
            except DatabaseUnavailable:
                return
            if claims:
                crash_point("webhook_claimed")
            for claim in claims:
                self._open[asyncio.create_task(self._attempt(claim), name="webhook")] = claim, failing

    async def _wait(self) -> None:
        """Wait until a call has ended, or it is time to look again."""
        pause = asyncio.ensure_future(self._clock.sleep(POLL_S))
        try:
            await asyncio.wait({pause, *self._open}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            pause.cancel()
        for task in [task for task in self._open if task.done()]:
            del self._open[task]
            task.result()

    async def _stop(self) -> None:
        claims = [claim for claim, _ in self._open.values()]
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        self._open.clear()
        if claims:
            with contextlib.suppress(DatabaseUnavailable):
                await self._store.release(claims)

    async def _attempt(self, claim: Claim) -> None:
        """Make an attempt and record it. What cannot be recorded is tried again when the claim ends."""
        with contextlib.suppress(DatabaseUnavailable):
            if not claim.permitted:
                self._observer.gave_up(1)
                await self._store.give_up(claim, "not_permitted")
                return
            try:
                body = self._encode(claim)
            except Exception:
                # The receiver has no part in this.
                _logger.exception("webhook_delivery_not_encoded")
                return
            failure, http_status = await self._send(claim, body)
            now = self._clock.now()
            self._observer.attempted(
                claim, failure, http_status, max((now - claim.created_at).total_seconds(), 0)
            )
            crash_point("webhook_sent")
            await self._record(claim, failure, http_status)

    async def _send(self, claim: Claim, body: bytes) -> tuple[str, int]:
        """How an attempt failed, empty if it did not, and the status of the answer, 0 without one."""
        timestamp = int(self._clock.now().timestamp())
        headers = signed_headers(claim.event_id, timestamp, body, claim.secrets)
        try:
            http_status = await self._sender.send(parse_target(claim.target_url), headers, body)
        except SendFailed as failed:
            return failed.failure, 0
        except BadTarget:
            # A release that accepted it stored it.
            return "address", 0
        except Exception:
            # Whatever a receiver makes a library raise ends its own call, and no other.
            _logger.exception("webhook_call_faulted")
            return "connection", 0
        return "" if 200 <= http_status < 300 else "status", http_status

    def _record(self, claim: Claim, failure: str, http_status: int) -> Awaitable[None]:
        if not failure:
            return self._store.mark_delivered(claim, http_status)
        return self._record_failure(claim, failure, http_status)

    async def _record_failure(self, claim: Claim, failure: str, http_status: int) -> None:
        pause = pause_s(claim.age_s, self._jitter())
        failed = AttemptFailed(
            failure,
            http_status,
            pause,
            rest_s(claim.failures + 1, self._jitter()),
            gone=http_status == _GONE,
        )
        if pause is None:
            self._observer.gave_up(1)
        if await self._store.mark_failed(claim, failed):
            _logger.warning("webhook_disabled: %s, %s", claim.webhook_id, failure)
            self._observer.disabled(claim)
