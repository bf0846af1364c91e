"""A small client of the hub, for the command line: start a refinement, follow it, read its proposal.

It follows over the WebSocket with subprotocol `ideo.v1` and resumes by itself from its cursor.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from server.domain.retry import Backoff

#: Close codes after which connecting again with the same cursor makes sense.
RESUMABLE = frozenset({1001, 1006, 1011, 1012, 1013, 4408, 4429})
#: Pauses before connecting again, in seconds: the first, and the most.
RETRY_FIRST_S, MAX_RETRY_S = 0.2, 5.0
#: Tries in a row that bring nothing before it gives up.
TRIES = 20
#: How long a start is tried again, in seconds: a run whose replica died is taken over within 20.
START_PATIENCE_S = 30.0


class ClientError(Exception):
    """The hub refused, or cannot be reached. `unavailable`: a later try may succeed, `retry_after_s` from
    now. `code`: the problem's, empty when the hub told none."""

    def __init__(
        self, message: str, *, unavailable: bool = False, code: str = "", retry_after_s: int = 0
    ) -> None:
        super().__init__(message)
        self.unavailable, self.code, self.retry_after_s = unavailable, code, retry_after_s

    @property
    def unsettled(self) -> bool:
        """Whether it is open what the request came to, or soon will be: not when the runtime failed it."""
        return self.unavailable and not self.code.startswith("runtime_")


class HubClient:
    """Talks to one hub with one token."""

    def __init__(self, url: str, token: str, http: httpx.AsyncClient) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._http = http

    async def start(self, workflow_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Start a refinement once, however often the answer is lost. Raises ClientError."""
        path, key = f"/api/workflows/{workflow_id}/refinements", str(uuid4())
        now = asyncio.get_running_loop().time
        until, backoff = now() + START_PATIENCE_S, Backoff(RETRY_FIRST_S, MAX_RETRY_S)
        while True:
            try:
                return await self.call("POST", path, body, key=key)
            except ClientError as error:
                wait_s = max(backoff.next_pause_s(), error.retry_after_s)
                if not error.unsettled or now() + wait_s > until:
                    raise
            await asyncio.sleep(wait_s)

    async def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, key: str | None = None
    ) -> dict[str, Any]:
        """One JSON call. Raises ClientError with the problem's detail."""
        headers = {"Authorization": f"Bearer {self._token}"}
        if key is not None:
            headers["Idempotency-Key"] = key
        try:
            answer = await self._http.request(method, self._url + path, json=body, headers=headers)
        except httpx.HTTPError as error:
            raise ClientError(
                f"no answer from {self._url}: {type(error).__name__}", unavailable=True
            ) from error
        try:
            value = answer.json()
        except ValueError:
            value = {}
        if not isinstance(value, dict):
            value = {}
        if answer.is_error:
            detail = value.get("detail") or value.get("title") or answer.reason_phrase
            code, after = str(value.get("code", "")), answer.headers.get("retry-after")
            # Without a code it is no answer of the hub's, but of a proxy's before it.
            away = after is not None or (not code and answer.status_code in (429, 502, 503, 504))
            raise ClientError(
                f"{answer.status_code}: {detail}",
                unavailable=away,
                code=code,
                retry_after_s=int(after) if after and after.isdecimal() else 0,
            )
        return value

    async def follow(self, thread_id: str, after: int = 0) -> AsyncIterator[dict[str, Any]]:
        """The messages of the stream (contract: WatchRefinementResponse as JSON) until the terminal event.

        Raises ClientError when the hub refuses, or stays away.
        """
        address = "ws" + self._url.removeprefix("http") + f"/api/ws/refinements/{thread_id}"
        now = asyncio.get_running_loop().time
        tries, backoff = 0, Backoff(RETRY_FIRST_S, MAX_RETRY_S)
        while tries < TRIES:
            tries += 1
            try:
                async with connect(
                    f"{address}?after={after}",
                    additional_headers={"Authorization": f"Bearer {self._token}"},
                    subprotocols=["ideo.v1"],  # type: ignore[list-item]
                    max_size=64 << 20,
                    proxy=None,
                    compression=None,
                ) as socket:
                    leave_at: float | None = None
                    async for text in socket:
                        message: dict[str, Any] = json.loads(text)
                        tries = 0
                        backoff.reset()
                        yield message
                        if "reconnect" in message:
                            leave_at = now() + message["reconnect"].get("after_ms", 0) / 1000
                        for event in message.get("batch", {}).get("events", ()):
                            after = event["seq"]
                            if "terminal" in event:
                                return
                        if leave_at is not None and now() >= leave_at:
                            break
            except InvalidStatus as error:
                if error.response.status_code != 503:
                    raise ClientError(_refusal(error)) from error
            except ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else 1006
                if code not in RESUMABLE:
                    reason = closed.rcvd.reason if closed.rcvd else ""
                    raise ClientError(f"the hub closed the stream ({code}): {reason}") from closed
            except OSError:
                pass
            await asyncio.sleep(backoff.next_pause_s())
        raise ClientError("the hub stays away", unavailable=True)


def _refusal(error: InvalidStatus) -> str:
    try:
        problem = json.loads(error.response.body or b"{}")
    except ValueError:
        problem = {}
    return f"{error.response.status_code}: {problem.get('detail') or 'the hub refused the stream'}"


@asynccontextmanager
async def open_client(url: str, token: str) -> AsyncIterator[HubClient]:
    """A client with its connections."""
    async with httpx.AsyncClient(trust_env=False, timeout=httpx.Timeout(60, connect=5)) as http:
        yield HubClient(url, token, http)
