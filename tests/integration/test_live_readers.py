"""Readers at the live end: a committed segment is sent to those who wait without waking them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from server.clock import SystemClock
from server.domain.access.stream_authorization import StreamAuthorization
from server.domain.errors import PermissionDenied, Unauthenticated
from server.domain.journal.events import Token
from server.domain.journal.segments import Segment
from server.domain.model import Principal
from server.domain.streams.steps import Heartbeat, Step
from server.domain.streams.subscription import Subscription
from tests.integration.started_run import StartedRun, started_run


class Reader:
    """A reader that waits for its next step, and what was sent to it meanwhile."""

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        #: The seqs that were sent without a step, and whether the next segment can be.
        self.sent: list[int] = []
        self.ready = True
        subscription.send_now = self._send_now
        self.step: asyncio.Task[Step] = asyncio.create_task(subscription.step())

    def _send_now(self, segment: Segment) -> bool:
        if self.ready:
            self.sent += range(segment.first_seq, segment.last_seq + 1)
        return self.ready


@asynccontextmanager
async def waiting_reader(
    on: StartedRun, authorization: StreamAuthorization | None = None
) -> AsyncIterator[Reader]:
    subscription = await on.broadcaster.subscribe(on.thread_id, on.log.committed, authorization)
    reader = Reader(subscription)
    await asyncio.sleep(0)
    try:
        yield reader
    finally:
        reader.step.cancel()
        with suppress(asyncio.CancelledError, PermissionDenied, Unauthenticated):
            await reader.step
        subscription.close()


async def commit(on: StartedRun, text: str = "x") -> None:
    on.put(Token(text=text))
    await on.log.flush()


async def test_a_waiting_reader_gets_each_segment_once_and_goes_on_waiting(pool: Any) -> None:
    async with started_run(pool) as on, waiting_reader(on) as reader:
        for _ in range(3):
            await commit(on)
        assert reader.sent == [2, 3, 4]
        assert not reader.step.done()
        assert reader.subscription.cursor == 4


async def test_a_reader_that_cannot_take_a_segment_at_once_is_woken_and_misses_nothing(pool: Any) -> None:
    async with started_run(pool) as on, waiting_reader(on) as reader:
        await commit(on)
        reader.ready = False
        await commit(on)
        step = await reader.step
        assert isinstance(step, list)
        assert [(segment.first_seq, segment.last_seq) for segment in step] == [(3, 3)]
        assert reader.sent == [2]


async def test_a_reader_that_does_not_wait_gets_nothing_beside_its_steps(pool: Any) -> None:
    async with started_run(pool) as on, waiting_reader(on) as reader:
        on.broadcaster.show_progress(on.thread_id, "at work")
        assert await reader.step == Heartbeat(1, "at work")
        await commit(on)
        assert reader.sent == []
        step = await reader.subscription.step()
        assert isinstance(step, list)
        assert step[-1].last_seq == 2


async def test_the_terminal_event_ends_the_wait(pool: Any) -> None:
    async with started_run(pool) as on, waiting_reader(on) as reader:
        await on.finish()
        step = await reader.step
        assert isinstance(step, list)
        assert step[-1].terminal
        assert reader.sent == []


class Authorized:
    """An authorization whose token expires at a time of the test."""

    def __init__(self, thread_id: Any, expires_at: datetime | None) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        principal = Principal(uuid4(), "reader", expires_at=expires_at)
        self.right = StreamAuthorization(principal, thread_id, _At(self), on_revoked=lambda _: None)


class _At(SystemClock):
    def __init__(self, of: Authorized) -> None:
        self._of = of

    def now(self) -> datetime:
        return self._of.now


async def test_a_reader_gets_no_segment_after_its_token_has_expired(pool: Any) -> None:
    async with started_run(pool) as on:
        authorized = Authorized(on.thread_id, datetime(2026, 1, 1, 1, tzinfo=UTC))
        async with waiting_reader(on, authorized.right) as reader:
            await commit(on)
            assert reader.sent == [2]
            authorized.now += timedelta(hours=2)
            await commit(on)
            with pytest.raises(Unauthenticated):
                await reader.step
            assert reader.sent == [2]


async def test_a_reader_gets_no_segment_after_its_right_was_revoked(pool: Any) -> None:
    async with started_run(pool) as on:
        authorized = Authorized(on.thread_id, None)
        async with waiting_reader(on, authorized.right) as reader:
            authorized.right.revoke(PermissionDenied("no longer"))
            await commit(on)
            with pytest.raises(PermissionDenied):
                await reader.step
            assert reader.sent == []
