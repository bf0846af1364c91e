"""Following a refinement: each event once and in order, over connections that break."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import TypeVar

from ide_orchestrator.client.errors import Fault, HubError, NotAuthenticated, Unavailable
from ide_orchestrator.client.retrying import Backoff, Credentials, is_temporary
from ide_orchestrator.v1.event_pb2 import Event
from ide_orchestrator.v1.refinement_pb2 import WatchRefinementResponse

if sys.version_info >= (3, 11):
    from asyncio import Timeout, timeout

    def _put_off(limit: Timeout, until: float) -> None:
        limit.reschedule(until)

else:
    from async_timeout import Timeout, timeout

    def _put_off(limit: Timeout, until: float) -> None:
        limit.update(until)


T = TypeVar("T")

#: Seconds without a message after which a connection counts as dead. The hub sends one at least every 15.
SILENCE_S = 20.0
#: Connections in a row without an event or a heartbeat, after which following fails.
MAX_FAILURES = 20
#: Batches in a row that may bring no new event. The hub repeats a few events at most, after a reconnection.
MAX_REPEATS = 1_000

#: Is called with each part of a message that arrives: a large one may take longer than a hub is silent.
Heard = Callable[[], None]
#: Opens a connection with the events after a cursor, and yields its messages. It ends when no event will
#: follow. Raises HubError: Unavailable when another connection may succeed.
Connect = Callable[[int, Heard], AsyncGenerator[WatchRefinementResponse, None]]
#: What a caller learns of a connection that was lost: why, and the seconds until the next one.
OnRetry = Callable[[HubError, float], None]


async def watch(
    connect: Connect,
    after: int,
    credentials: Credentials,
    *,
    silence_s: float = SILENCE_S,
    on_retry: OnRetry | None = None,
    backoff: Backoff | None = None,
) -> AsyncGenerator[WatchRefinementResponse, None]:
    """The messages of a stream until the terminal event, over as many connections as it takes.

    Each connection begins with a `hello`. Events come once and in order. Raises HubError when the hub
    refuses, and Unavailable when MAX_FAILURES connections in a row brought no event.
    """
    cursor, backoff = _Cursor(after), backoff or Backoff()
    lost: HubError | None = None
    while True:
        try:
            async with aclosing(while_alive(partial(connect, cursor.seq), silence_s)) as messages:
                async for message in messages:
                    if not cursor.advance(message, may_skip=credentials.shared):
                        continue
                    if not message.HasField("hello"):
                        backoff.reset()
                        lost = None
                    yield message
                    if cursor.complete:
                        return
                return
        except HubError as error:
            # Two tokens that are refused in a row: a third would be, too.
            renewed = credentials.renewable and not isinstance(lost, NotAuthenticated)
            if not (is_temporary(error) or (renewed and isinstance(error, NotAuthenticated))):
                raise
            lost = error
        pause_s = max(backoff.next_pause_s(), lost.retry_after_s or 0)
        if backoff.failures >= MAX_FAILURES:
            raise Unavailable(f"{lost}; {backoff.failures} connections in a row ended like this") from lost
        if on_retry is not None:
            on_retry(lost, pause_s)
        await asyncio.sleep(pause_s)


async def events_of(messages: AsyncGenerator[WatchRefinementResponse, None]) -> AsyncGenerator[Event, None]:
    """The events of a stream's messages."""
    async with aclosing(messages):
        async for message in messages:
            for event in message.batch.events:
                yield event


async def while_alive(
    connect: Callable[[Heard], AsyncGenerator[T, None]], silence_s: float
) -> AsyncGenerator[T, None]:
    """The messages of a connection. Raises Unavailable when it is silent for too long."""
    now = asyncio.get_running_loop().time
    limit: Timeout | None = None

    def heard() -> None:
        if limit is not None:
            _put_off(limit, now() + silence_s)

    async with aclosing(connect(heard)) as messages:
        while True:
            try:
                async with timeout(silence_s) as limit:
                    message = await anext(messages)
            except StopAsyncIteration:
                return
            except asyncio.TimeoutError:  # another class in Python 3.10
                raise Unavailable(f"the hub sent nothing for {silence_s:g} s") from None
            limit = None
            yield message


class _Cursor:
    """The last seq that the caller has. `complete`: it was the terminal event's."""

    def __init__(self, after: int) -> None:
        self.seq, self.complete = after, False
        self._begun, self._repeats = False, 0

    def advance(self, message: WatchRefinementResponse, *, may_skip: bool) -> bool:
        """Count a message's events, and remove those that the caller has. Returns whether anything is left.

        may_skip: the first event of all may have any seq. Raises Fault when an event is missing.
        """
        if not message.HasField("batch"):
            return True
        events = message.batch.events
        if events and events[0].seq <= self.seq:
            fresh = [event for event in events if event.seq > self.seq]
            del events[:]
            events.extend(fresh)
        if not events:
            self._repeats += 1
            if self._repeats > MAX_REPEATS:
                raise Fault("the hub sends the same events again and again")
            return False
        self._repeats = 0
        due = events[0].seq if may_skip and not self._begun else self.seq + 1
        for seq, event in enumerate(events, due):
            if event.seq != seq:
                raise Fault(f"the hub sent event {event.seq} where {seq} was due")
        self.seq, self._begun = events[-1].seq, True
        self.complete = events[-1].HasField("terminal")
        return True
