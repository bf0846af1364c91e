"""A small client of the hub: start a refinement, follow it, call the JSON API.

It follows over the WebSocket with subprotocol `ideo.v1`, and reconnects with its cursor.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import quote
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
        path, key = (
            f"/api/workflows/{quote(workflow_id, safe='', errors='replace')}/refinements",
            str(uuid4()),
        )
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
        value = _json_object(answer.content)
        if value is None:
            raise ClientError(
                f"{self._url} does not answer as the hub does: HTTP {answer.status_code} without JSON"
            )
        return value

    async def read(self, path: str) -> bytes:
        """The bytes of a file's content. Raises ClientError."""
        return (await self._send("GET", path, None, self._headers)).content

    async def _send(
        self, method: str, path: str, body: dict[str, Any] | None, headers: Mapping[str, str]
    ) -> httpx.Response:
        try:
            answer = await self._http.request(method, self._url + path, json=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise ClientError(
                f"the hub at {self._url} does not answer ({cause_of(error)})", unavailable=True
            ) from error
        if answer.is_error:
            raise _refusal(answer, _json_object(answer.content) or {}, self._url)
        return answer

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
                async with aclosing(self._messages(f"{address}?after={after}")) as messages:
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
                    message = _json_object(text)
                    if message is None:
                        raise ClientError(f"{self._url} does not send events as the hub does")
                    yield message
                    if "reconnect" in message:
                        leave_at = now() + message["reconnect"].get("after_ms", 0) / 1000
                    if leave_at is not None and now() >= leave_at:
                        return
        raise _ConnectionLost("ended the stream")


@contextmanager
def _connection_errors(url: str) -> Iterator[None]:
    """Raise _ConnectionLost for errors after which another connection may succeed, ClientError for others."""
    try:
        yield
    except InvalidStatus as error:
        answer = error.response
        problem = _json_object(answer.body or b"") or {}
        status, detail = answer.status_code, problem.get("detail") or problem.get("title")
        if status == 503 or (status in _TEMPORARY_STATUSES and "code" not in problem):
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


def cause_of(error: BaseException) -> str:
    """Why a connection could not be made, in the words of the operating system where it has some."""
    root = error
    while root.__cause__ or root.__context__:
        root = root.__cause__ or root.__context__ or root
        if isinstance(root, OSError) and root.strerror:
            break
    text = root.strerror if isinstance(root, OSError) else None
    return text or type(error).__name__


def member(answer: dict[str, Any], name: str) -> Any:
    """A member of the hub's answer. Raises ClientError when another server answered, without it."""
    try:
        return answer[name]
    except KeyError:
        raise ClientError(f"the answer is not the hub's: it has no {name}") from None


def _refusal(answer: httpx.Response, problem: dict[str, Any], url: str) -> ClientError:
    """The error for an HTTP answer of 400 or above, whose body is a problem document at best."""
    code, retry_after = str(problem.get("code", "")), answer.headers.get("retry-after")
    # An answer without a code comes from a proxy, not from the hub.
    from_proxy = not code and answer.status_code in _TEMPORARY_STATUSES
    detail = problem.get("detail") or problem.get("title")
    message = f"{answer.status_code}: {detail}" if detail else f"{url} answers HTTP {answer.status_code}"
    return ClientError(
        message if code or from_proxy else f"{message}; is it the hub's address?",
        unavailable=retry_after is not None or from_proxy,
        status=answer.status_code,
        code=code,
        retry_after_s=int(retry_after) if re.fullmatch("[0-9]{1,6}", retry_after or "") else 0,
    )


def _json_object(body: bytes | bytearray | str) -> dict[str, Any] | None:
    """The JSON object in a body; None when it holds anything else."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


@asynccontextmanager
async def open_client(url: str, token: str) -> AsyncIterator[HubClient]:
    """A client whose connections are closed when the block ends."""
    # Loading the CA certificates takes longer than a call, and http:// needs none.
    verify, timeout = not url.startswith("http:"), httpx.Timeout(60, connect=5)
    async with httpx.AsyncClient(trust_env=False, verify=verify, timeout=timeout) as http:
        yield HubClient(url, token, http)
