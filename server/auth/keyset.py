"""Tokens of an issuer that publishes its keys (settings: IDEO_JWKS_URL): a cache of them, and the checks.

1. No request waits for the issuer, but one with a kid that is not known, and the first start (ADR 0014).
2. Keys that were fetched stay through any failure of the issuer's for KEEP_S.
3. A kid that is not known makes at most one fetch in COOLDOWN_S; at most one is under way, whoever waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator

import httpx
import structlog

from server.auth.claims import Header, header_of, invalid, principal_of
from server.auth.jwks import ALGORITHMS, BadKeySet, Key, key_for, keys_in
from server.domain.clock import Clock
from server.domain.errors import KeysUnavailable
from server.domain.model import Principal

#: Seconds between a fetch and the next when nothing is amiss.
REFRESH_S = 300.0
#: Seconds between two fetches for kids that are not known, and after one that failed.
COOLDOWN_S = 30.0
#: Seconds that keys are used without a fetch that succeeds: longer than any token of theirs lives.
KEEP_S = 86_400.0
#: Seconds that a fetch may take, all in all.
FETCH_S = 5.0
#: Largest answer that is read, in bytes.
MAX_ANSWER_BYTES = 256 << 10

_log = structlog.stdlib.get_logger("server.keys")


class _Refused(Exception):
    """An answer that is not read. Its text is ours."""


class KeySet:
    """RS256, ES256 and EdDSA with an issuer's published keys. Usable inside `running`.

    clock: judges tokens and times fetches. fetch_s: see FETCH_S.
    """

    def __init__(
        self, url: str, *, issuer: str, audience: str, clock: Clock, fetch_s: float = FETCH_S
    ) -> None:
        self._url, self._issuer, self._audience = url, issuer, audience
        self._clock, self._fetch_s = clock, fetch_s
        self._client: httpx.AsyncClient | None = None
        self._keys: tuple[Key, ...] = ()
        self._fetching: asyncio.Task[None] | None = None
        #: Monotonic times: of the last fetch that succeeded, that ended, that an unknown kid asked for.
        self._fetched_at = self._ended_at = self._asked_at = -math.inf
        #: Fetches that failed since one succeeded.
        self._failures = 0

    @property
    def ready(self) -> bool:
        """Whether there are keys to check tokens with."""
        return self._clock.monotonic() - self._fetched_at < KEEP_S

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Fetch the keys, then keep them fresh inside the block. An issuer that is away is no error."""
        async with httpx.AsyncClient(
            timeout=self._fetch_s,
            follow_redirects=False,
            trust_env=False,
            # What is packed may be small to read and large to hold.
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        ) as client:
            self._client = client
            refreshing = asyncio.create_task(self._refresh_forever(), name="keys")
            try:
                await self._fetch()
                yield
            finally:
                left = [task for task in (refreshing, self._fetching) if task is not None]
                for task in left:
                    task.cancel()
                await asyncio.gather(*left, return_exceptions=True)
                self._client = self._fetching = None

    async def verify(self, token: str) -> Principal:
        """The caller that the token stands for.

        Raises Unauthenticated; KeysUnavailable when the issuer is away and the token's key is not known.
        """
        header = header_of(token)
        if header.algorithm not in ALGORITHMS:
            raise invalid() from None
        key = await self._key(header)
        return principal_of(
            token,
            key.jwk,
            key.algorithm,
            issuer=self._issuer,
            audience=self._audience,
            now=self._clock.now(),
        )

    async def _key(self, header: Header) -> Key:
        while self.ready:
            key = key_for(header, self._keys)
            if key is not None:
                return key
            if not await self._looked_again():
                break
        if self._failures or not self.ready:
            # The key may be a new one: whether the token is good cannot be told.
            raise KeysUnavailable(retry_after_s=math.ceil(self._pause_s()) + 1)
        raise invalid() from None

    async def _looked_again(self) -> bool:
        """Fetch for a kid that is not known, or wait for who fetches already. False: not again yet."""
        if self._fetching is None:
            now = self._clock.monotonic()
            if self._client is None or now - self._asked_at < COOLDOWN_S:
                return False
            self._asked_at = now
        await self._fetch()
        return True

    async def _refresh_forever(self) -> None:
        while True:
            pause_s = self._pause_s()
            # A fetch for somebody's kid may have come in between: then there is time again.
            await (self._clock.sleep(pause_s) if pause_s > 0 else self._fetch())

    def _pause_s(self) -> float:
        """Seconds until the next fetch is due: soon while there is no key, later when nothing is amiss."""
        if not self._failures:
            due = self._fetched_at + REFRESH_S
        elif self.ready:
            due = self._ended_at + COOLDOWN_S
        else:
            due = self._ended_at + min(COOLDOWN_S, 2.0 ** (min(self._failures, 10) - 1))
        return max(0.0, due - self._clock.monotonic())

    async def _fetch(self) -> None:
        """Fetch the keys once, together with whoever wants the same. A failure leaves them as they are."""
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch_now(), name="keys fetched")
        # Who gives up waiting ends nothing for the others.
        await asyncio.shield(self._fetching)

    async def _fetch_now(self) -> None:
        try:
            async with asyncio.timeout(self._fetch_s):
                keys = keys_in(await self._answer())
        except Exception as error:  # whatever a stranger's answer does, the keys that are known stay
            self._failures += 1
            why = str(error) if isinstance(error, _Refused | BadKeySet) else type(error).__name__
            _log.warning("keys_not_fetched", why=why, failures=self._failures, known=len(self._keys))
        else:
            if self._failures or {key.kid for key in keys} != {key.kid for key in self._keys}:
                _log.info("keys_fetched", keys=len(keys))
            self._keys, self._failures = keys, 0
            self._fetched_at = self._clock.monotonic()
        finally:
            self._ended_at = self._clock.monotonic()
            self._fetching = None

    async def _answer(self) -> bytes:
        """The body of the issuer's answer. Raises _Refused, httpx.HTTPError."""
        assert self._client is not None
        body = bytearray()
        async with self._client.stream("GET", self._url) as answer:
            if answer.status_code != 200:
                raise _Refused(f"the answer's status is {answer.status_code}")
            if answer.headers.get("content-encoding", "identity").lower() != "identity":
                raise _Refused("the answer is packed")
            async for chunk in answer.aiter_raw():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise _Refused("the answer is too large")
        return bytes(body)
