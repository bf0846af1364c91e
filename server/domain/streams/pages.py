"""Pages of events: a bounded part of a thread's journal, which may wait for its first event."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment
from server.domain.streams.steps import Heartbeat, ReconnectElsewhere
from server.domain.streams.subscription import Subscription

#: Largest page in bytes of its serialised events, unless a single event is larger.
MAX_PAGE_BYTES = 3 << 20


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page of events. `segments` hold at most the requested number; `complete`: nothing follows."""

    segments: tuple[Segment, ...]
    head: JournalHead
    next_after: int
    complete: bool


async def read_page(subscription: Subscription, *, limit: int, wait_s: float) -> EventPage:
    """At most `limit` events after the subscription's cursor, waiting up to `wait_s` for the first.

    It has at most MAX_PAGE_BYTES, unless its only event is larger; no more than a step beyond the page is
    read. Raises as `Subscription.step`.
    """
    segments: list[Segment] = []
    first = subscription.cursor
    full = False
    with contextlib.suppress(TimeoutError):
        # Without a wait there is no timeout: committed events are read, no matter how long that takes.
        async with asyncio.timeout(wait_s or None):
            while not full:
                step = await _next_segments(subscription, wait=not segments and wait_s > 0)
                if not step:
                    break
                full = _fill(segments, step, first + limit)
    last_seq = segments[-1].last_seq if segments else first
    head = subscription.topic.head
    return EventPage(tuple(segments), head, last_seq, head.terminal and last_seq >= head.last_seq)


def _fill(page: list[Segment], step: Sequence[Segment], end: int) -> bool:
    """Add the events of a step up to seq `end` and MAX_PAGE_BYTES. Returns whether the page is full."""
    left = MAX_PAGE_BYTES - sum(len(segment.batch) for segment in page)
    for segment in step:
        part = segment.up_to(end)
        if len(part.batch) > left:
            part = part.within(left)
        if page and len(part.batch) > left:
            return True
        page.append(part)
        left -= len(part.batch)
        if part.last_seq < segment.last_seq or part.last_seq == end:
            return True
    return False


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
