"""Following a refinement: each event once and in order, over connections that break."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from ide_orchestrator.client.errors import Fault, HubError, NotAuthenticated, Unavailable
from ide_orchestrator.client.retrying import Backoff, Credentials, is_temporary
from ide_orchestrator.v1.event_pb2 import Event
from ide_orchestrator.v1.refinement_pb2 import EventBatch, WatchRefinementResponse

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout

#: Seconds without a message after which a connection counts as dead. The hub sends one at least every 15.
SILENCE_S = 20.0
#: Connections in a row without an event or a heartbeat, after which following fails.
MAX_FAILURES = 20

#: Opens a connection with the events after a cursor, and yields its messages. It ends when no event will
#: follow. Raises HubError: Unavailable when another connection may succeed.
Connect = Callable[[int], AsyncGenerator[WatchRefinementResponse, None]]
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
    refuses, and Unavailable when MAX_FAILURES connections in a row brought nothing.
    """
    backoff, started = backoff or Backoff(), False
    lost: HubError | None = None
    while True:
        try:
            async with aclosing(connect(after)) as messages:
                while True:
                    message = await _next(messages, silence_s)
                    if message is None:
                        return
                    if message.HasField("batch"):
                        _remove_repeated(message.batch, after)
                        _check(message.batch, after, may_skip=credentials.shared and not started)
                        if not message.batch.events:
                            continue
                        after, started = message.batch.events[-1].seq, True
                    if not message.HasField("hello"):
                        backoff.reset()
                        lost = None
                    yield message
                    if message.HasField("batch") and message.batch.events[-1].HasField("terminal"):
                        return
        except HubError as error:
            # Two tokens that are refused in a row: a third would be, too.
            renewed = credentials.renewable and not isinstance(lost, NotAuthenticated)
            if not (is_temporary(error) or (renewed and isinstance(error, NotAuthenticated))):
                raise
            lost = error
        pause_s = max(backoff.next_pause_s(), lost.retry_after_s or 0)
        if backoff.failures >= MAX_FAILURES:
            raise Unavailable(f"{lost}; so ended {backoff.failures} connections in a row") from lost
        if on_retry is not None:
            on_retry(lost, pause_s)
        await asyncio.sleep(pause_s)


async def events_of(messages: AsyncGenerator[WatchRefinementResponse, None]) -> AsyncGenerator[Event, None]:
    """The events of a stream's messages."""
    async with aclosing(messages):
        async for message in messages:
            for event in message.batch.events:
                yield event


async def _next(
    messages: AsyncGenerator[WatchRefinementResponse, None], silence_s: float
) -> WatchRefinementResponse | None:
    """The next message of a connection; None at its end. Raises Unavailable when it is silent."""
    try:
        async with timeout(silence_s):
            return await anext(messages)
    except StopAsyncIteration:
        return None
    except asyncio.TimeoutError:  # another class in Python 3.10
        raise Unavailable(f"the hub sent nothing for {silence_s:g} s") from None


def _remove_repeated(batch: EventBatch, after: int) -> None:
    """Remove the events that the caller has."""
    if batch.events and batch.events[0].seq <= after:
        fresh = [event for event in batch.events if event.seq > after]
        del batch.events[:]
        batch.events.extend(fresh)


def _check(batch: EventBatch, after: int, *, may_skip: bool) -> None:
    """Raises Fault when an event is missing. may_skip: the first one may have any seq."""
    if may_skip and batch.events:
        after = batch.events[0].seq - 1
    for event in batch.events:
        after += 1
        if event.seq != after:
            raise Fault(f"the hub sent event {event.seq} where {after} was due")
