"""Pages of events: a bounded part of a thread's journal, which may wait for its first event."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment
from server.domain.streams.steps import Heartbeat, ReconnectElsewhere
from server.domain.streams.subscription import Subscription


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page of events. `segments` hold at most the requested number; `complete`: nothing follows."""

    segments: tuple[Segment, ...]
    head: JournalHead
    next_after: int
    complete: bool


async def read_page(subscription: Subscription, *, limit: int, wait_s: float) -> EventPage:
    """At most `limit` events after the subscription's cursor, waiting up to `wait_s` for the first.

    Afterwards the subscription may have read beyond the page. Raises as `Subscription.step`.
    """
    segments: list[Segment] = []
    last_seq = subscription.cursor
    end = last_seq + limit
    with contextlib.suppress(TimeoutError):
        # Without a wait there is no timeout: committed events are read, no matter how long that takes.
        async with asyncio.timeout(wait_s or None):
            while last_seq < end:
                step = await _next_segments(subscription, wait=not segments and wait_s > 0)
                if not step:
                    break
                for segment in step:
                    segments.append(segment.up_to(end))
                    last_seq = segments[-1].last_seq
                    if last_seq >= end:
                        break
    head = subscription.topic.head
    return EventPage(tuple(segments), head, last_seq, head.terminal and last_seq >= head.last_seq)


async def _next_segments(subscription: Subscription, *, wait: bool) -> list[Segment]:
    """The next committed segments. Without `wait`, or when the stream is complete, there may be none."""
    if not wait:
        has_more = subscription.cursor < subscription.topic.head.last_seq
        return await subscription.available() if has_more else []
    while True:
        match await subscription.step():
            case Heartbeat() | ReconnectElsewhere():
                continue
            case None:
                return []
            case segments:
                return segments
