"""Calls of a runtime over HTTP, whose answers are bounded."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from io import BytesIO
from typing import NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

import httpx
from opentelemetry.propagate import inject

from server.bounded_http import bounded_client
from server.domain.errors import RuntimeRefused, RuntimeUnavailable
from server.domain.off_loop import RUNS, SMALL_BYTES
from server.domain.runs.runtime import AdmitFrame, admit_at_once
from server.encoding.structure import count
from server.frames import structure
from server.runtime.refusals import refusal_reason

T = TypeVar("T")

MAX_ANSWER_BYTES = 32 << 20
#: How many times its bytes an answer takes while it is read: itself, a text in it, and the content that is
#: made of it. And the bytes of memory that a member of an object takes besides its own.
_COPIES, _MEMBER_BYTES = 3, 256
#: Answers that are larger than SMALL_BYTES and are read at a time.
_LARGE_ANSWERS = 2


class Answer(NamedTuple):
    """What a runtime answered."""

    status: int
    content_type: str
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the call succeeded."""
        return 200 <= self.status < 300


def checked_address(base_url: str) -> tuple[str, str]:
    """The scheme of an http or https address, and the rest without slashes at its end. Raises ValueError for
    another address."""
    scheme, separator, rest = base_url.partition("://")
    if scheme not in ("http", "https") or not separator or not rest.strip("/"):
        raise ValueError("the runtime's address must be an http or https URL")
    return scheme, rest.rstrip("/")


class RuntimeCalls:
    """The calls of one runtime; one per process.

    base: the address before each path, without a slash at its end. The limits are in seconds and bytes:
    `connect_s` to find and reach the runtime, `read_s` between two pieces of an answer, `total_s` for a whole
    call. `on_answer` is called with the endpoint and status of each answer, None when there is none.
    `headers` come with each call; secrets are what an answer must not repeat to anybody, beside the
    credentials of the address.
    """

    def __init__(
        self,
        base: str,
        *,
        connect_s: float,
        read_s: float,
        total_s: float,
        max_answer_bytes: int,
        on_answer: Callable[[str, int | None], None],
        headers: Mapping[str, str] | None = None,
        secrets: tuple[str, ...] = (),
    ) -> None:
        self.base, self.on_answer = base, on_answer
        self._total_s, self._max_answer_bytes = total_s, max_answer_bytes
        self._secrets = [*_secrets_of(base), *secrets]
        self._large_answers = asyncio.Semaphore(_LARGE_ANSWERS)
        #: For calls and streams. Loading the certificates of authorities takes longer than a call.
        self.tls = httpx.create_ssl_context() if base.startswith("https://") else None
        self.http = bounded_client(
            tls=self.tls or False, timeout=httpx.Timeout(read_s, connect=connect_s), headers=headers or {}
        )

    async def close(self) -> None:
        """Close the connections."""
        await self.http.aclose()

    async def call(
        self, endpoint: str, method: str, path: str, body: bytes | None = None, *, place: AsyncExitStack
    ) -> Answer:
        """The answer to a call. Raises RuntimeUnavailable; RuntimeRefused when it is too long.

        A large answer has one of a few places, until `place` ends.
        """
        headers = {"content-type": "application/json"} if body is not None else {}
        inject(headers)
        status: int | None = None
        try:
            async with (
                asyncio.timeout(self._total_s) as limit,
                self.http.stream(method, self.base + path, content=body, headers=headers) as response,
            ):
                status = response.status_code
                # Its value is what was written, not a copy.
                answer, small = BytesIO(), True
                async for piece in response.aiter_raw():
                    answer.write(piece)
                    if small and answer.tell() > SMALL_BYTES:
                        small = False
                        with _standing_still(limit):
                            await place.enter_async_context(self._large_answers)
                    if answer.tell() > self._max_answer_bytes:
                        # The error keeps what is here for as long as it is handled.
                        answer.close()
                        raise RuntimeRefused("the runtime's answer is too long", status=response.status_code)
                return Answer(status, response.headers.get("content-type", ""), answer.getvalue())
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            raise RuntimeUnavailable("the runtime cannot be reached", sent=False) from None
        except (TimeoutError, httpx.TimeoutException):
            raise RuntimeUnavailable("the runtime did not answer in time") from None
        except httpx.HTTPError:
            raise RuntimeUnavailable("the connection to the runtime broke") from None
        finally:
            self.on_answer(endpoint, status)

    async def read(
        self, answer: Answer, function: Callable[[bytes], T], admit: AdmitFrame = admit_at_once
    ) -> T:
        """What a function finds in an answer: beside the event loop, if the answer is large, and once `admit`
        grants the memory that it takes then. Raises RuntimeRefused for one with more values than are read."""
        body = answer.body
        if len(body) <= SMALL_BYTES:
            return function(body)
        members = await RUNS.run(_members_in, body)
        if members is None:
            raise RuntimeRefused("the runtime's answer has too many values", status=answer.status)
        await admit(_COPIES * len(body) + _MEMBER_BYTES * min(members, structure.MAX_MEMBERS))
        return await RUNS.run(function, body)

    def refusal(self, message: str, answer: Answer) -> RuntimeRefused:
        """The error for an answer that is one. message: has a place for the status."""
        reason = refusal_reason(answer.body, answer.content_type, self._secrets)
        return RuntimeRefused(message.format(answer.status), status=answer.status, reason=reason)


def _members_in(body: bytes) -> int | None:
    """At least the number of members in an answer; None when it has more values than are read."""
    return None if structure.is_too_complex(body) else count(body, b":")


@contextmanager
def _standing_still(limit: asyncio.Timeout) -> Iterator[None]:
    """The time of the block does not count: in it the hub does not read."""
    loop, ends_at = asyncio.get_running_loop(), limit.when()
    assert ends_at is not None
    left_s = ends_at - loop.time()
    limit.reschedule(None)
    yield
    limit.reschedule(loop.time() + left_s)


def _secrets_of(base_url: str) -> list[str]:
    """What the hub sends to prove who it is, in each form in which an answer may repeat it."""
    address = urlsplit(base_url)
    if not address.password:
        return []
    user, password = unquote(address.username or ""), unquote(address.password)
    return [address.password, password, b64encode(f"{user}:{password}".encode()).decode()]
