"""Calls of the HTTP interface: JSON, lists, downloads."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from http.cookiejar import DefaultCookiePolicy
from ssl import SSLContext
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote, urlencode
from uuid import uuid4

import httpx

from ide_orchestrator.client.errors import Fault, HubError, not_answered
from ide_orchestrator.client.pages import Pages
from ide_orchestrator.client.responses import PLAIN, body_of, json_object, opened, pieces_of, problem_of
from ide_orchestrator.client.retrying import Credentials, Token, authorization, repeated

Self = TypeVar("Self", bound="HttpCalls")

#: Items on a page of a list.
PAGE = 200
#: Seconds for a connection, and for each part of a response. A start waits for the runtime.
_TIMEOUT = httpx.Timeout(60, connect=5)


class HttpCalls:
    """Makes calls to one hub with one token.

    url: the hub's, such as `https://ide.example.com`. token: a token, or what returns a valid one; also the
    secret of a share link. ssl: for certificates of an authority of one's own; by default those of the
    environment's SSL_CERT_FILE count, else those of the package certifi. trust_env: whether proxies are taken
    from the environment. Raises OSError for an SSL_CERT_FILE that cannot be used.
    """

    def __init__(
        self, url: str, token: Token, *, ssl: SSLContext | None = None, trust_env: bool = True
    ) -> None:
        self.url = url.rstrip("/")
        self._credentials = Credentials(token)
        # For streams, too. Loading the authorities' certificates takes longer than a call, and http: needs
        # none.
        self._ssl = ssl or (None if url.startswith("http:") else httpx.create_ssl_context())
        self._trust_env = trust_env
        self._http = httpx.AsyncClient(
            trust_env=trust_env, verify=self._ssl or False, timeout=_TIMEOUT, headers=PLAIN
        )
        # The hub sets no cookies. Those of another server would be kept, and sent with each call.
        self._http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Make one call, and return the JSON object of the response, which is empty when there is none.

        key: an idempotency key. Raises HubError.
        """
        named = {} if key is None else {"Idempotency-Key": key}
        status, content = await self._send(method, path, body, {**named, **(headers or {})})
        if status == httpx.codes.NO_CONTENT:
            return {}
        value = json_object(content)
        if value is None:
            raise Fault(f"{self.url} does not answer as the hub does: HTTP {status} without JSON")
        return value

    async def call_once(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
        *,
        key: str | None = None,
    ) -> Any:
        """Make a call that takes effect once, and repeat it while it fails temporarily, for up to 30 s.

        key: its idempotency key; None for a new one. Raises HubError.
        """
        chosen = key or str(uuid4())
        return await repeated(lambda: self.call(method, path, body, key=chosen, headers=headers))

    async def items(self, path: str, /, **query: Any) -> AsyncGenerator[Any, None]:
        """The items of all pages of a list, which are read one after the other.

        query: values that are None are left out. Raises HubError, also for a list that does not end.
        """
        pages = Pages(self.url)
        while True:
            page = await self.call("GET", with_query(path, query))
            items = member(page, "items")
            if not isinstance(items, list):
                raise Fault("the answer is not the hub's: its items are no list")
            for item in items:
                yield item
            cursor = pages.next_cursor(page.get("next_cursor"), len(items))
            if cursor is None:
                return
            query["cursor"] = cursor

    async def read(self, path: str) -> bytes:
        """The bytes of a response. Raises HubError."""
        return (await self._send("GET", path, None, {}))[1]

    async def pieces(
        self, path: str, headers: Mapping[str, str] | None = None, /, **query: Any
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of a response as they arrive. query: as of `items`. Raises HubError, also when they end
        too early."""
        url = self.url + with_query(path, query)
        response = await self._credentials.with_token(lambda token: self._open(url, headers or {}, token))
        try:
            async for piece in pieces_of(response, self.url):
                yield piece
        except httpx.HTTPError as error:
            raise self._not_answered(error) from error
        finally:
            await response.aclose()

    async def _open(self, url: str, headers: Mapping[str, str], token: str) -> httpx.Response:
        sent = {**authorization(token), **headers}
        try:
            response = await opened(self._http, self._http.build_request("GET", url, headers=sent))
            if not response.is_success:
                body = await body_of(response, self.url)
                raise problem_of(response.status_code, response.headers, body, self.url)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise self._not_answered(error) from error
        return response

    async def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """The status and the body of a response."""

        async def _attempt(token: str) -> tuple[int, bytes]:
            sent = {**authorization(token), **headers}
            try:
                request = self._http.build_request(method, self.url + path, json=body, headers=sent)
                response = await opened(self._http, request)
                async with aclosing(response):
                    content = await body_of(response, self.url)
            except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
                raise self._not_answered(error) from error
            if not response.is_success:
                raise problem_of(response.status_code, response.headers, content, self.url)
            return response.status_code, content

        return await self._credentials.with_token(_attempt)

    def _not_answered(self, error: Exception) -> HubError:
        return not_answered(f"the hub at {self.url}", error)


def with_query(path: str, query: Mapping[str, Any]) -> str:
    """The path with the values that are not None."""
    asked = {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in present(query).items()
    }
    return f"{path}?{urlencode(asked, doseq=True, errors='replace')}" if asked else path


def address(kind: str, resource_id: str) -> str:
    """Where the hub has a resource; kind: such as `proposals`."""
    return f"/api/{kind}/{quote(resource_id, safe='', errors='replace')}"


def present(body: Mapping[str, Any]) -> dict[str, Any]:
    """The members that are not None."""
    return {name: value for name, value in body.items() if value is not None}


def if_match(resource: Mapping[str, object]) -> dict[str, str]:
    """The header with which a call changes a resource only if it is still the one that was read.

    Raises Fault for one without an etag, which is not the hub's.
    """
    return {"If-Match": f'"{member(resource, "etag")}"'}


def member(found: Mapping[str, object], name: str) -> Any:
    """A member of a response. Raises Fault when it is not there: another server responded."""
    try:
        return found[name]
    except KeyError:
        raise Fault(f"the answer is not the hub's: it has no {name}") from None


def view(contents: bool) -> str:
    """How much of a resource is asked for."""
    return "full" if contents else "basic"
