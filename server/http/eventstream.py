"""Server-sent events: a thread's events until the last, one ASGI send per step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, assert_never

from litestar import Response
from litestar.datastructures import Headers
from litestar.types import Receive, Scope, Send

from server.domain.errors import PermissionDenied, ShuttingDown, Unauthenticated
from server.domain.fair_budget import Reservation
from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment
from server.domain.streams.observer import ReaderObserver
from server.domain.streams.steps import Heartbeat, ReconnectElsewhere, Step
from server.domain.streams.subscription import Subscription
from server.http.connection import ClientGone, Pace, SlowReader, connection_of
from server.http.errors import log, place_of
from server.http.json_io import give_back_room, prefers_to_json
from server.http.methods import is_head
from server.http.response_body import STREAM_HEADERS, joined, send_pieces
from server.http.slow_readers import reset_slow_reader

_TYPE = "text/event-stream"
_HEADERS = [
    (b"content-type", f"{_TYPE}; charset=utf-8".encode()),
    *((name.encode(), value.encode()) for name, value in STREAM_HEADERS.items()),
]


def wants_event_stream(headers: Headers) -> bool:
    """Whether a request prefers server-sent events to JSON."""
    return prefers_to_json(headers, _TYPE)


class EventForm(Protocol):
    """How a thread's events are written for a client."""

    @property
    def over(self) -> bool:
        """Whether the client gets nothing more, although the journal may go on."""
        ...

    def hello(self, head: JournalHead, cursor: int) -> bytes:
        """The beginning of a stream of the events after `cursor`."""
        ...

    async def segment(self, segment: Segment, head: JournalHead) -> bytes:
        """The segment's events. head: where the journal ends now."""
        ...

    def heartbeat(self, last_seq: int, progress: str) -> bytes:
        """A heartbeat for a quiet stream."""
        ...

    def reconnect(self, after_s: float) -> bytes:
        """The advice to reconnect elsewhere; empty if the form has none."""
        ...


class EventStream(Response[None]):
    """Subscribes when it is sent, so that an error before the first byte is answered as a problem.

    resumed: the client reconnected with `Last-Event-ID`. If no event follows, the answer is 204, after which
    an EventSource does not reconnect. max_age_s: seconds after which the stream ends between two events, and
    the client reconnects.
    """

    def __init__(
        self,
        subscribe: Callable[[Reservation], Awaitable[Subscription]],
        reservation: Reservation,
        *,
        form: EventForm,
        readers: ReaderObserver,
        resumed: bool = False,
        max_age_s: float | None = None,
    ) -> None:
        super().__init__(None)
        self._subscribe, self._reservation = subscribe, reservation
        self._resumed, self._max_age_s = resumed, max_age_s
        self._form, self._readers = form, readers

    def to_asgi_response(self, *args: Any, **kwargs: Any) -> Any:
        """The ASGI application that sends it."""
        return self._send

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A stream may last for hours, and needs nothing of its request's body.
        give_back_room(scope)
        connection_of(scope).reservation = self._reservation  # type: ignore[arg-type]
        subscription = await self._subscribe(self._reservation)
        try:
            if self._resumed and subscription.complete:
                await send({"type": "http.response.start", "status": 204, "headers": []})
            else:
                await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
                if not is_head(scope):
                    await self._stream(subscription, scope, send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        # Before ClientGone, its base class: a slow reader is still connected.
        except SlowReader:
            connection = connection_of(scope)  # type: ignore[arg-type]
            reset_slow_reader(connection, self._readers, "sse", thread_id=str(subscription.topic.thread_id))
        except (ClientGone, OSError):
            pass
        finally:
            subscription.close()
            self._reservation.close()

    async def _stream(self, subscription: Subscription, scope: Scope, send: Send) -> None:
        connection = connection_of(scope)  # type: ignore[arg-type]
        form, topic = self._form, subscription.topic
        deadline = None if self._max_age_s is None else _now() + self._max_age_s
        in_event = False

        async def put(body: bytes) -> None:
            nonlocal in_event
            in_event = True
            await send_pieces(body, send, connection, Pace(connection))
            in_event = False

        async def put_step() -> bool:
            """Write the next step. Returns whether another one may follow.

            Nothing refers to it afterwards: a reader that waits for the next one would keep this one in
            memory, which is not counted any more.
            """
            nonlocal deadline
            match await _step(subscription, deadline):
                case Heartbeat(last_seq, progress):
                    await put(form.heartbeat(last_seq, progress))
                case ReconnectElsewhere(after_s):
                    await put(form.reconnect(after_s))
                    if deadline is not None:
                        deadline = min(deadline, _now() + after_s)
                case list() as segments:
                    for body in joined([await form.segment(each, topic.head) for each in segments]):
                        await put(body)
                    return not form.over
                case None:
                    return False
                case other:
                    assert_never(other)
            return True

        try:
            with connection.streaming():
                await put(form.hello(topic.head, subscription.cursor))
                while await put_step():
                    pass
        except (ShuttingDown, Unauthenticated, PermissionDenied):
            if in_event:
                # Reset, so that the client does not take a part of an event for all of it.
                connection.abort()
                raise ClientGone from None
            # A regular end: the client reconnects to another replica, or the answer says why it cannot.
            await connection.drain()
        except ClientGone:  # also SlowReader: `_send` tells them apart
            raise
        except Exception as error:
            log.error(
                "event_stream_failed",
                error=type(error).__name__,
                where=place_of(error),
                thread_id=str(topic.thread_id),
            )
            # Aborted, so that the client does not mistake this for the end of the stream.
            connection.abort()
            raise ClientGone from None


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _step(subscription: Subscription, deadline: float | None) -> Step:
    """The subscription's next step; None at the deadline, too."""
    if deadline is None:
        return await subscription.step_when_available()
    try:
        async with asyncio.timeout_at(deadline):
            return await subscription.step_when_available()
    except TimeoutError:
        return None
