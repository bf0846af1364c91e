"""The stream of a run: its connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import httpx
from opentelemetry.propagate import inject

from server.agent_server.events import ServerEvent, ServerEvents
from server.agent_server.repeats import digest_of, order_of
from server.agent_server.threads import runs_path
from server.domain.errors import RuntimeRefused, RuntimeUnavailable
from server.domain.off_loop import SMALL_BYTES
from server.domain.runs.runtime import AdmitFrame, StreamClosed
from server.runtime.calls import RuntimeCalls
from server.runtime.thread_ids import path_segment

#: The id before the first event of a run: everything is replayed.
_BEFORE_THE_FIRST = "-1"
#: Seconds in which the server says what it keeps under an id, and of silence after that; and events under one
#: id, which is a millisecond.
_RECALL_S, _QUIET_RECALL_S, MAX_RECALLED = 10.0, 1.0, 10_000
#: Runs that may recall large events at a time.
LARGE_RECALLS = 2
#: Milliseconds by which the time in an answer's head may be late: it is in seconds, and not always new.
_DATE_LATE_MS = 3000


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Limits of a stream, in seconds and bytes: to reach the server, to open the stream, of silence, of an
    event."""

    connect_s: float
    open_s: float
    quiet_s: float
    max_event_bytes: int


@dataclass(frozen=True, slots=True)
class Opened:
    """An open connection. at_ms: a time of the server's clock before it was opened; 0 for unknown."""

    events: ServerEvents
    at_ms: int


class RunStream:
    """The stream of one run. Opening a connection raises RuntimeUnavailable, RuntimeRefused."""

    def __init__(
        self,
        calls: RuntimeCalls,
        thread_id: str,
        run_id: str,
        limits: StreamLimits,
        large_recalls: asyncio.Semaphore,
    ) -> None:
        """large_recalls: places of those who recall large events, of all runs."""
        self._calls, self._limits, self._large_recalls = calls, limits, large_recalls
        self._path = f"{runs_path(thread_id)}/{path_segment(run_id)}/stream"

    @asynccontextmanager
    async def opened(self, admit: AdmitFrame, *, after: str = _BEFORE_THE_FIRST) -> AsyncIterator[Opened]:
        """A connection with the events after an id. admit: as for `Runtime.stream`."""
        headers = {"accept": "text/event-stream", "last-event-id": after}
        inject(headers)
        limits = self._limits
        request = self._calls.http.build_request(
            "GET",
            self._calls.base + self._path,
            headers=headers,
            timeout=httpx.Timeout(limits.quiet_s, connect=limits.connect_s),
        )
        response = await self._sent(request)
        pieces = _pieces(response)
        try:
            if response.status_code != httpx.codes.OK:
                status = response.status_code
                raise RuntimeRefused(f"the runtime refused the stream with HTTP {status}", status=status)
            events = ServerEvents(pieces, max_bytes=limits.max_event_bytes, admit=admit)
            yield Opened(events, _time_of(response))
        finally:
            await pieces.aclose()
            await response.aclose()

    async def kept_under(self, event_id: bytes) -> Sequence[bytes]:
        """The digests of the events that the server keeps under an id, which is in the past. Raises
        StreamClosed."""
        wanted = order_of(event_id) or (0, 0)
        loop, kept = asyncio.get_running_loop(), list[bytes]()
        ends_at = loop.time() + _RECALL_S
        has_place = False

        async def admit(size_bytes: int) -> None:
            # Not of the room that frames have: the run keeps some for an event meanwhile, and two that wait
            # for more while they have some could wait for each other.
            nonlocal has_place
            if size_bytes > SMALL_BYTES and not has_place:
                await place.enter_async_context(self._large_recalls)
                has_place = True

        try:
            async with (
                asyncio.timeout_at(ends_at) as time_left,
                AsyncExitStack() as place,
                self.opened(admit, after=f"{wanted[0] - 1}-0") as opened,
            ):
                async for together in opened.events:
                    for event in together:
                        order = order_of(event.id) if isinstance(event, ServerEvent) else None
                        if order is None or order < wanted:
                            continue
                        if order > wanted:
                            return kept
                        assert isinstance(event, ServerEvent)
                        kept.append(digest_of(event))
                        if len(kept) > MAX_RECALLED:
                            raise StreamClosed("the runtime has sent too much under one id")
                        # Unless another comes at once, it is the run's last one so far.
                        time_left.reschedule(min(loop.time() + _QUIET_RECALL_S, ends_at))
        except (TimeoutError, RuntimeUnavailable, RuntimeRefused):
            if not kept:
                raise StreamClosed("the runtime does not say what it has sent") from None
        return kept

    async def _sent(self, request: httpx.Request) -> httpx.Response:
        """The answer to a request for a stream, of which only the head is read."""
        status: int | None = None
        try:
            async with asyncio.timeout(self._limits.open_s):
                response = await self._calls.http.send(request, stream=True)
            status = response.status_code
            return response
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            raise RuntimeUnavailable("the runtime cannot be reached", sent=False) from None
        except (TimeoutError, httpx.TimeoutException):
            raise RuntimeUnavailable("the runtime did not open the stream in time") from None
        except httpx.HTTPError:
            raise RuntimeUnavailable("the connection to the runtime broke") from None
        finally:
            self._calls.on_answer("stream", status)


def _time_of(response: httpx.Response) -> int:
    try:
        date = parsedate_to_datetime(response.headers.get("date", ""))
        return max(int(date.timestamp() * 1000) - _DATE_LATE_MS, 0)
    except (ValueError, OverflowError):
        return 0


async def _pieces(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """What comes of a body. Raises StreamClosed."""
    try:
        async for piece in response.aiter_raw():
            yield piece
    except httpx.TimeoutException:
        raise StreamClosed("the runtime's stream was silent") from None
    except httpx.HTTPError:
        raise StreamClosed("the connection to the runtime broke") from None
