"""A small client of the hub: start a refinement, follow it, call the JSON API.

It follows over the WebSocket with subprotocol `ideo.v1`, and reconnects with its cursor.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any
from uuid import uuid4

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from server.domain.retry import Backoff
from server.wire.problems import INTERNAL, PROBLEMS

#: Close codes after which connecting again with the same cursor makes sense: the hub's, a proxy's 1001, and
#: 1006 for a lost connection.
RESUMABLE_CLOSE_CODES = frozenset(
    {1001, 1006} | {row.close.code for row in (*PROBLEMS.values(), INTERNAL) if row.close.resumable}
)
#: HTTP statuses of proxies that may be temporary.
_TEMPORARY_STATUSES = (429, 502, 503, 504)
#: Seconds before the first retry; the pause doubles up to the maximum.
FIRST_RETRY_S, MAX_RETRY_S = 0.2, 5.0
#: Number of connections in a row without a message after which following fails.
MAX_CONNECTION_FAILURES = 20
#: Seconds for which a start is retried. The run of a replica that died is taken over within 20.
START_TIMEOUT_S = 30.0
MAX_MESSAGE_BYTES = 64 << 20


class ClientError(Exception):
    """The hub refused a request, or cannot be reached.

    unavailable: a later attempt may succeed, after `retry_after_s` seconds. status: the HTTP status, 0
    without an answer. code: the problem's code, empty when the answer has none.
    """

    def __init__(
        self,
        message: str,
        *,
        unavailable: bool = False,
        status: int = 0,
        code: str = "",
        retry_after_s: int = 0,
    ) -> None:
        super().__init__(message)
        self.unavailable, self.status, self.code = unavailable, status, code
        self.retry_after_s = retry_after_s

    @property
    def may_have_succeeded(self) -> bool:
        """Whether the request may have succeeded, or may still succeed. Not when the runtime failed it."""
        return self.unavailable and not self.code.startswith("runtime_")


class HubClient:
    """Talks to one hub with one token."""

    def __init__(self, url: str, token: str, http: httpx.AsyncClient) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"}
        self._http = http

    async def start(self, workflow_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Start a refinement exactly once, even when answers are lost. Raises ClientError."""
        path, key = f"/api/workflows/{workflow_id}/refinements", str(uuid4())
        now = asyncio.get_running_loop().time
        deadline, backoff = now() + START_TIMEOUT_S, Backoff(FIRST_RETRY_S, MAX_RETRY_S)
        while True:
            try:
                return await self.call("POST", path, body, key=key)
            except ClientError as error:
                wait_s = max(backoff.next_pause_s(), error.retry_after_s)
                if not error.may_have_succeeded or now() + wait_s > deadline:
                    raise
            await asyncio.sleep(wait_s)

    async def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, key: str | None = None
    ) -> dict[str, Any]:
        """Make one JSON call; `key` is its idempotency key. Raises ClientError with the problem's detail."""
        headers = self._headers if key is None else {**self._headers, "Idempotency-Key": key}
        try:
            answer = await self._http.request(method, self._url + path, json=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ClientError(
                f"no answer from {self._url}: {type(error).__name__}", unavailable=True
            ) from error
        value = _json_object(answer.content)
        if answer.is_error:
            raise _refusal(answer, value)
        return value

    async def follow(self, thread_id: str, after: int = 0) -> AsyncIterator[dict[str, Any]]:
        """The stream's messages (WatchRefinementResponse as JSON) until the terminal event.

        after: the caller's last seq. Raises ClientError when the hub refuses, or cannot be reached.
        """
        address = "ws" + self._url.removeprefix("http") + f"/api/ws/refinements/{thread_id}"
        failures, backoff = 0, Backoff(FIRST_RETRY_S, MAX_RETRY_S)
        while failures < MAX_CONNECTION_FAILURES:
            failures += 1
            async with aclosing(self._messages(f"{address}?after={after}")) as messages:
                async for message in messages:
                    failures = 0
                    backoff.reset()
                    yield message
                    for event in message.get("batch", {}).get("events", ()):
                        after = event["seq"]
                        if "terminal" in event:
                            return
            await asyncio.sleep(backoff.next_pause_s())
        raise ClientError("the hub cannot be reached", unavailable=True)

    async def _messages(self, address: str) -> AsyncGenerator[dict[str, Any], None]:
        """The messages of one connection. Ends when the client should connect again. Raises ClientError."""
        now = asyncio.get_running_loop().time
        with _connection_errors(address):
            async with connect(
                address,
                additional_headers=self._headers,
                subprotocols=["ideo.v1"],  # type: ignore[list-item]
                max_size=MAX_MESSAGE_BYTES,
                proxy=None,
                compression=None,
            ) as socket:
                leave_at: float | None = None
                async for text in socket:
                    message: dict[str, Any] = json.loads(text)
                    yield message
                    if "reconnect" in message:
                        leave_at = now() + message["reconnect"].get("after_ms", 0) / 1000
                    if leave_at is not None and now() >= leave_at:
                        return


@contextmanager
def _connection_errors(address: str) -> Iterator[None]:
    """Suppress the errors after which another connection may succeed; raise ClientError for the others."""
    try:
        yield
    except InvalidStatus as error:
        answer = error.response
        if answer.status_code != 503:
            detail = _json_object(answer.body or b"").get("detail") or "the hub refused the stream"
            raise ClientError(f"{answer.status_code}: {detail}", status=answer.status_code) from error
    except (InvalidHandshake, InvalidURI) as error:
        raise ClientError(f"no hub at {address.partition('?')[0]}: {type(error).__name__}") from error
    except ConnectionClosed as closed:
        code = closed.rcvd.code if closed.rcvd else 1006
        if code not in RESUMABLE_CLOSE_CODES:
            reason = closed.rcvd.reason if closed.rcvd else ""
            raise ClientError(f"the hub closed the stream ({code}): {reason}") from closed
    except OSError:
        pass


def _refusal(answer: httpx.Response, problem: dict[str, Any]) -> ClientError:
    """The error for an HTTP answer of 400 or above, whose body is a problem document at best."""
    code, retry_after = str(problem.get("code", "")), answer.headers.get("retry-after")
    # An answer without a code comes from a proxy, not from the hub.
    from_proxy = not code and answer.status_code in _TEMPORARY_STATUSES
    detail = problem.get("detail") or problem.get("title") or answer.reason_phrase
    return ClientError(
        f"{answer.status_code}: {detail}",
        unavailable=retry_after is not None or from_proxy,
        status=answer.status_code,
        code=code,
        retry_after_s=int(retry_after) if retry_after and retry_after.isdecimal() else 0,
    )


def _json_object(body: bytes | bytearray) -> dict[str, Any]:
    """The JSON object in a body; empty when it holds anything else."""
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


@asynccontextmanager
async def open_client(url: str, token: str) -> AsyncIterator[HubClient]:
    """A client whose connections are closed when the block ends."""
    async with httpx.AsyncClient(trust_env=False, timeout=httpx.Timeout(60, connect=5)) as http:
        yield HubClient(url, token, http)
