"""A small client of the hub: start a refinement, follow it, call the JSON API.

It follows over the WebSocket with subprotocol `ideo.v1`, and reconnects with its cursor.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from server.cli.hub_answers import (
    TEMPORARY_STATUSES,
    ClientError,
    cause_of,
    json_object,
    member,
    refusal_of,
)
from server.domain.retry import Backoff
from server.wire.problems import INTERNAL, PROBLEMS

#: Close codes after which connecting again with the same cursor makes sense: the hub's, a proxy's 1001, and
#: 1006 for a lost connection.
RESUMABLE_CLOSE_CODES = frozenset(
    {1001, 1006} | {row.close.code for row in (*PROBLEMS.values(), INTERNAL) if row.close.resumable}
)
#: Seconds before the first retry; the pause doubles up to the maximum.
FIRST_RETRY_S, MAX_RETRY_S = 0.2, 5.0
#: Number of connections in a row without a message after which following fails.
MAX_CONNECTION_FAILURES = 20
#: Seconds for which a start is retried. The run of a replica that died is taken over within 20.
START_TIMEOUT_S = 30.0
MAX_MESSAGE_BYTES = 64 << 20
#: Items on a page of a long list.
PAGE = 200

#: What a caller learns of a connection that ended: why, and the seconds until the next one.
OnRetry = Callable[[str, float], None]


class _ConnectionLost(Exception):
    """A connection ended, or could not be made, and another one may succeed."""


class HubClient:
    """Talks to one hub with one token."""

    def __init__(self, url: str, token: str, http: httpx.AsyncClient) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"}
        self._http = http

    async def start(self, workflow_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Start a refinement exactly once, even when answers are lost. Raises ClientError."""
        return await self.call_once(
            "POST", f"/api/workflows/{quote(workflow_id, safe='', errors='replace')}/refinements", body
        )

    async def call_once(
        self, method: str, path: str, body: dict[str, Any], headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Make a JSON call that does its work once, even when answers are lost. Raises ClientError."""
        key = str(uuid4())
        now = asyncio.get_running_loop().time
        deadline, backoff = now() + START_TIMEOUT_S, Backoff(FIRST_RETRY_S, MAX_RETRY_S)
        while True:
            try:
                return await self.call(method, path, body, key=key, headers=headers)
            except ClientError as error:
                wait_s = max(backoff.next_pause_s(), error.retry_after_s)
                if not error.may_have_succeeded or now() + wait_s > deadline:
                    raise
            await asyncio.sleep(wait_s)

    async def call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Make one JSON call; `key` is its idempotency key. Raises ClientError with the problem's detail."""
        named = {} if key is None else {"Idempotency-Key": key}
        sent = {**self._headers, **named, **(headers or {})}
        answer = await self._send(method, path, body, sent)
        value = json_object(answer.content)
        if value is None:
            raise ClientError(
                f"{self._url} does not answer as the hub does: HTTP {answer.status_code} without JSON"
            )
        return value

    async def items(self, path: str, /, **query: Any) -> AsyncGenerator[dict[str, Any], None]:
        """The items of all pages of a list. query: its members; those that are None are left out. Raises
        ClientError."""
        while True:
            page = await self.call("GET", _with_query(path, query))
            for item in member(page, "items"):
                yield item
            if page.get("next_cursor") is None:
                return
            query["cursor"] = str(page["next_cursor"])

    async def pieces(
        self, path: str, headers: Mapping[str, str] | None = None, /, **query: Any
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of an answer as they arrive. query: as of `items`. Raises ClientError, also when they end
        too early."""
        sent, url = {**self._headers, **(headers or {})}, self._url + _with_query(path, query)
        try:
            async with self._http.stream("GET", url, headers=sent) as answer:
                if answer.is_error:
                    raise refusal_of(answer, json_object(await answer.aread()) or {}, self._url)
                async for piece in answer.aiter_bytes():
                    yield piece
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise self._unavailable(error) from error

    async def read(self, path: str) -> bytes:
        """The bytes of a file's content. Raises ClientError."""
        return (await self._send("GET", path, None, self._headers)).content

    async def _send(
        self, method: str, path: str, body: dict[str, Any] | None, headers: Mapping[str, str]
    ) -> httpx.Response:
        try:
            answer = await self._http.request(method, self._url + path, json=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise self._unavailable(error) from error
        if answer.is_error:
            raise refusal_of(answer, json_object(answer.content) or {}, self._url)
        return answer

    def _unavailable(self, error: Exception) -> ClientError:
        return ClientError(f"the hub at {self._url} does not answer ({cause_of(error)})", unavailable=True)

    async def follow(
        self, thread_id: str, after: int = 0, *, on_retry: OnRetry = lambda why, pause_s: None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The stream's messages (WatchRefinementResponse as JSON) until the terminal event.

        after: the caller's last seq. on_retry: learns of each connection that failed. Raises ClientError when
        the hub refuses, or cannot be reached.
        """
        address = (
            "ws"
            + self._url.removeprefix("http")
            + f"/api/ws/refinements/{quote(thread_id, safe='', errors='replace')}"
        )
        failures, backoff, why = 0, Backoff(FIRST_RETRY_S, MAX_RETRY_S), ""
        while failures < MAX_CONNECTION_FAILURES:
            failures += 1
            why = ""
            try:
                async with aclosing(
                    self._messages(f"{address}?after={after}&max_message_bytes={MAX_MESSAGE_BYTES}")
                ) as messages:
                    async for message in messages:
                        failures = 0
                        backoff.reset()
                        yield message
                        for event in message.get("batch", {}).get("events", ()):
                            after = event["seq"]
                            if "terminal" in event:
                                return
            except _ConnectionLost as lost:
                why = str(lost)
            if failures < MAX_CONNECTION_FAILURES:
                pause_s = backoff.next_pause_s()
                if why:
                    on_retry(f"the hub at {self._url} {why}", pause_s)
                await asyncio.sleep(pause_s)
        raise ClientError(
            f"the hub at {self._url} sent nothing on {failures} connections in a row"
            + (f": it {why}" if why else ""),
            unavailable=True,
        )

    async def _messages(self, address: str) -> AsyncGenerator[dict[str, Any], None]:
        """The messages of one connection, until the hub asks to connect elsewhere.

        Raises _ConnectionLost, ClientError.
        """
        now = asyncio.get_running_loop().time
        with _connection_errors(self._url):
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
                    message = json_object(text)
                    if message is None:
                        raise ClientError(f"{self._url} does not send events as the hub does")
                    yield message
                    if "reconnect" in message:
                        leave_at = now() + message["reconnect"].get("after_ms", 0) / 1000
                    if leave_at is not None and now() >= leave_at:
                        return
        raise _ConnectionLost("ended the stream")


def _with_query(path: str, query: Mapping[str, Any]) -> str:
    asked = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(asked, errors='replace')}" if asked else path


@contextmanager
def _connection_errors(url: str) -> Iterator[None]:
    """Raise _ConnectionLost for errors after which another connection may succeed, ClientError for others."""
    try:
        yield
    except InvalidStatus as error:
        answer = error.response
        problem = json_object(answer.body or b"") or {}
        status, detail = answer.status_code, problem.get("detail") or problem.get("title")
        if status == 503 or (status in TEMPORARY_STATUSES and "code" not in problem):
            raise _ConnectionLost(f"answers HTTP {status}") from error
        if not detail:
            raise ClientError(f"{url} is not the hub: it answers HTTP {status}", status=status) from error
        raise ClientError(f"{status}: {detail}", status=status) from error
    except (InvalidHandshake, InvalidURI) as error:
        raise ClientError(
            f"{url} is not the hub's HTTP address: it does not answer as a WebSocket ({type(error).__name__})"
        ) from error
    except ConnectionClosed as closed:
        code = closed.rcvd.code if closed.rcvd else 1006
        if code not in RESUMABLE_CLOSE_CODES:
            reason = closed.rcvd.reason if closed.rcvd else ""
            raise ClientError(f"the hub closed the stream ({code}): {reason}") from closed
        raise _ConnectionLost(f"ended the stream ({code})" if closed.rcvd else "cut the stream") from closed
    except (OSError, UnicodeError) as error:
        raise _ConnectionLost(f"does not answer ({cause_of(error)})") from error


@asynccontextmanager
async def open_client(url: str, token: str) -> AsyncIterator[HubClient]:
    """A client whose connections are closed when the block ends."""
    # Loading the CA certificates takes longer than a call, and http:// needs none.
    verify, timeout = not url.startswith("http:"), httpx.Timeout(60, connect=5)
    async with httpx.AsyncClient(trust_env=False, verify=verify, timeout=timeout) as http:
        yield HubClient(url, token, http)
