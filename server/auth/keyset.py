"""Tokens of an issuer that publishes its keys (IDEO_JWKS_URL): a verifier with a cache of keys (ADR 0014).

1. No request waits for the issuer, except a request with an unknown kid. The hub waits once, when it starts.
2. Fetched keys stay in use for KEEP_S, even if the issuer fails.
3. Unknown kids cause at most one fetch in COOLDOWN_S. One fetch runs at a time, for all callers.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator

import httpx
import structlog

from server.auth.claims import Header, claims_of, header_of, invalid
from server.auth.jwks import ALGORITHMS, BadKeySet, Key, key_for, keys_in
from server.auth.verified_tokens import VerifiedTokens
from server.bounded_http import bounded_client
from server.domain.access.users import TokenClaims
from server.domain.clock import Clock
from server.domain.errors import KeysUnavailable

#: Seconds between fetches while they succeed.
REFRESH_S = 300.0
#: Seconds between two fetches for unknown kids, and after a failed fetch.
COOLDOWN_S = 30.0
#: Seconds for which keys stay in use without a successful fetch: longer than the lifetime of any token.
KEEP_S = 86_400.0
#: Longest duration of a fetch, in seconds.
FETCH_S = 5.0
#: Largest response body that is read, in bytes.
MAX_RESPONSE_BYTES = 256 << 10

_log = structlog.stdlib.get_logger("server.keys")


class _BadResponse(Exception):
    """A response that is not read. The message is safe to log."""


class KeySet:
    """Verifies RS256, ES256 and EdDSA tokens with the keys that an issuer publishes. Works inside `running`.

    clock: for the times in tokens, and between fetches. fetch_s: see FETCH_S.
    """

    def __init__(
        self, url: str, *, issuer: str, audience: str, clock: Clock, fetch_s: float = FETCH_S
    ) -> None:
        self._url, self._issuer, self._audience = url, issuer, audience
        self._clock, self._fetch_s = clock, fetch_s
        self._client: httpx.AsyncClient | None = None
        self._keys: tuple[Key, ...] = ()
        self._verified = VerifiedTokens()
        self._fetching: asyncio.Task[None] | None = None
        #: Monotonic times of the last fetch that succeeded, that ended, and that an unknown kid caused.
        self._fetched_at = self._ended_at = self._unknown_kid_at = -math.inf
        #: Failed fetches since the last success.
        self._failures = 0

    @property
    def ready(self) -> bool:
        """Whether there are keys to verify tokens with."""
        return self._clock.monotonic() - self._fetched_at < KEEP_S

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Fetch the keys, then refresh them inside the block. An unreachable issuer is not an error."""
        tls = httpx.create_ssl_context() if self._url.startswith("https:") else False
        async with bounded_client(tls=tls, timeout=httpx.Timeout(self._fetch_s), headers={}) as client:
            self._client = client
            refreshing = asyncio.create_task(self._refresh_forever(), name="keys")
            try:
                await self._fetch()
                yield
            finally:
                tasks = [task for task in (refreshing, self._fetching) if task is not None]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                self._client = self._fetching = None

    async def verify(self, token: str) -> TokenClaims:
        """What the token says.

        Raises Unauthenticated; KeysUnavailable when the token's key is unknown and the issuer is unreachable.
        """
        claims = self._verified.find(token, self._keys, self._clock.now()) if self.ready else None
        if claims is None:
            header = header_of(token)
            if header.algorithm not in ALGORITHMS:
                raise invalid() from None
            key = await self._key(header)
            claims = claims_of(
                token,
                key.jwk,
                key.algorithm,
                issuer=self._issuer,
                audience=self._audience,
                now=self._clock.now(),
            )
            self._verified.add(token, self._keys, claims)
        return claims

    async def _key(self, header: Header) -> Key:
        while self.ready:
            key = key_for(header, self._keys)
            if key is not None:
                return key
            if not await self._fetch_for_unknown_kid():
                break
        if self._failures or not self.ready:
            # The key may be a new one, so the token may be valid.
            raise KeysUnavailable(retry_after_s=math.ceil(self._pause_s()) + 1)
        raise invalid() from None

    async def _fetch_for_unknown_kid(self) -> bool:
        """Fetch the keys, or wait for the fetch that is running. False, without a fetch, in the cooldown."""
        if self._fetching is None:
            now = self._clock.monotonic()
            if self._client is None or now - self._unknown_kid_at < COOLDOWN_S:
                return False
            self._unknown_kid_at = now
        await self._fetch()
        return True

    async def _refresh_forever(self) -> None:
        while True:
            pause_s = self._pause_s()
            # A fetch for an unknown kid may have run during the pause: then the next one is due later.
            await (self._clock.sleep(pause_s) if pause_s > 0 else self._fetch())

    def _pause_s(self) -> float:
        """Seconds until the next fetch is due: few while there are no keys, more after a success."""
        if not self._failures:
            due = self._fetched_at + REFRESH_S
        elif self.ready:
            due = self._ended_at + COOLDOWN_S
        else:
            due = self._ended_at + min(COOLDOWN_S, 2.0 ** (min(self._failures, 10) - 1))
        return max(0.0, due - self._clock.monotonic())

    async def _fetch(self) -> None:
        """Fetch the keys, or wait for the fetch that is running. A failed fetch does not change them."""
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch_now(), name="keys fetched")
        # A caller that is cancelled does not cancel the fetch of the others.
        await asyncio.shield(self._fetching)

    async def _fetch_now(self) -> None:
        try:
            async with asyncio.timeout(self._fetch_s):
                keys = keys_in(await self._response_body())
        except Exception as error:  # whatever the issuer sends, the known keys stay
            self._failures += 1
            why = str(error) if isinstance(error, _BadResponse | BadKeySet) else type(error).__name__
            _log.warning("keys_not_fetched", why=why, failures=self._failures, known=len(self._keys))
        else:
            if self._failures or {key.kid for key in keys} != {key.kid for key in self._keys}:
                _log.info("keys_fetched", keys=len(keys))
            self._keys, self._failures = keys, 0
            self._fetched_at = self._clock.monotonic()
        finally:
            self._ended_at = self._clock.monotonic()
            self._fetching = None

    async def _response_body(self) -> bytes:
        """The body of the issuer's response. Raises _BadResponse, httpx.HTTPError."""
        assert self._client is not None
        body = bytearray()
        async with self._client.stream("GET", self._url) as response:
            if response.status_code != 200:
                raise _BadResponse(f"the response's status is {response.status_code}")
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise _BadResponse("the response is compressed")
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_RESPONSE_BYTES:
                    raise _BadResponse("the response is too large")
        return bytes(body)
