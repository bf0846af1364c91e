"""Readers at the live end: committed segments and heartbeats reach those who wait, without waking them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from server.clock import SystemClock
from server.domain.access.stream_authorization import StreamAuthorization
from server.domain.errors import PermissionDenied, Unauthenticated
from server.domain.journal.events import Token
from server.domain.journal.segments import Segment
from server.domain.model import Principal
from server.domain.streams.live_end import LiveForm
from server.domain.streams.steps import Heartbeat, Step
from server.domain.streams.subscription import Subscription
from tests.integration.started_run import StartedRun, started_run
from tests.support.writers import WritersAtHand


class Reader:
    """A reader that waits for its next step, and what was written to it meanwhile."""

    def __init__(self, subscription: Subscription, key: str = "form") -> None:
        self.subscription = subscription
        #: The messages that were written without a step, and whether the next one can be.
        self.written: list[bytes] = []
        self.ready = True
        message, heartbeat = partial(_message, key), partial(_heartbeat, key)
        subscription.live_form = LiveForm(key, message, heartbeat, self, WritersAtHand)
        self.step: asyncio.Task[Step] = asyncio.create_task(subscription.step())

    def write_now(self, data: bytes) -> bool:
        if self.ready:
            self.written.append(data)
        return self.ready

    @property
    def seqs(self) -> list[int]:
        return [int(message.split()[1]) for message in self.written]


def _message(key: str, segment: Segment) -> bytes | None:
    """A message of one event; none for a form that has to be made in a step."""
    assert segment.first_seq == segment.last_seq
    return None if key == "large" else f"{key} {segment.first_seq}".encode()


def _heartbeat(key: str, step: Heartbeat) -> bytes | None:
    """A heartbeat; none for a form in which each reader has its own."""
    return None if key == "own" else f"{key} {step.last_seq} {step.progress}".encode()


@asynccontextmanager
async def waiting_reader(
    on: StartedRun, authorization: StreamAuthorization | None = None, key: str = "form"
) -> AsyncIterator[Reader]:
    subscription = await on.broadcaster.subscribe(on.thread_id, on.log.committed, authorization)
    reader = Reader(subscription, key)
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
        assert reader.seqs == [2, 3, 4]
        assert not reader.step.done()
        # It leaves the live end and comes back.
        on.broadcaster.wake(on.thread_id)
        await asyncio.sleep(0)
        assert reader.subscription.cursor == 4
        await commit(on)
        assert reader.seqs == [2, 3, 4, 5]


async def test_a_reader_that_cannot_take_a_segment_at_once_is_woken_and_misses_nothing(pool: Any) -> None:
    async with started_run(pool) as on, waiting_reader(on) as reader:
        await commit(on)
        reader.ready = False
        await commit(on)
        step = await reader.step
        assert isinstance(step, list)
        assert [(segment.first_seq, segment.last_seq) for segment in step] == [(3, 3)]
        assert reader.seqs == [2]


async def test_a_waiting_reader_gets_each_heartbeat_once_and_goes_on_waiting(pool: Any) -> None:
    async with started_run(pool) as on, waiting_reader(on) as reader:
        on.broadcaster.show_progress(on.thread_id, "at work")
        await commit(on)
        await on.broadcaster.send_heartbeats()
        assert reader.written == [b"form 1 at work", b"form 2", b"form 2 at work"]
        # It leaves the live end and comes back: none of them is due any more.
        on.broadcaster.wake(on.thread_id)
        await asyncio.sleep(0)
        assert not reader.step.done()
        await on.broadcaster.send_heartbeats()
        assert reader.written[3:] == [b"form 2 at work"]


async def test_a_reader_that_cannot_take_a_heartbeat_at_once_gets_it_in_its_next_step(pool: Any) -> None:
    async with started_run(pool) as on, waiting_reader(on) as behind, waiting_reader(on) as other:
        await on.broadcaster.send_heartbeats()
        behind.ready = False
        await on.broadcaster.send_heartbeats()
        assert await behind.step == Heartbeat(1, "")
        assert (len(behind.written), len(other.written)) == (1, 2)
        assert not other.step.done()


async def test_readers_with_heartbeats_of_their_own_are_woken_for_them(pool: Any) -> None:
    async with started_run(pool) as on, waiting_reader(on) as one, waiting_reader(on, key="own") as own:
        await on.broadcaster.send_heartbeats()
        assert await own.step == Heartbeat(1, "")
        assert one.written == [b"form 1 "]


async def test_a_reader_that_does_not_wait_gets_nothing_beside_its_steps(pool: Any) -> None:
    async with started_run(pool) as on, waiting_reader(on) as reader:
        reader.ready = False
        on.broadcaster.show_progress(on.thread_id, "at work")
        assert await reader.step == Heartbeat(1, "at work")
        reader.ready = True
        await commit(on)
        assert reader.seqs == []
        step = await reader.subscription.step()
        assert isinstance(step, list)
        assert step[-1].last_seq == 2


async def test_the_terminal_event_ends_the_wait(pool: Any) -> None:
    async with started_run(pool) as on, waiting_reader(on) as reader:
        await on.finish()
        step = await reader.step
        assert isinstance(step, list)
        assert step[-1].terminal
        assert reader.seqs == []


async def test_readers_of_each_form_get_its_messages(pool: Any) -> None:
    async with started_run(pool) as on, waiting_reader(on) as one, waiting_reader(on, key="other") as other:
        await commit(on)
        assert (one.written, other.written) == ([b"form 2"], [b"other 2"])


async def test_a_reader_that_is_behind_keeps_nobody_else_from_a_segment(pool: Any) -> None:
    async with started_run(pool) as on, waiting_reader(on) as behind, waiting_reader(on) as other:
        behind.ready = False
        await commit(on)
        await commit(on)
        assert other.seqs == [2, 3]
        step = await behind.step
        assert isinstance(step, list)
        assert [segment.first_seq for segment in step] == [2]


async def test_readers_whose_form_is_made_in_a_step_are_woken_for_it(pool: Any) -> None:
    async with started_run(pool) as on, waiting_reader(on) as one, waiting_reader(on, key="large") as large:
        await commit(on)
        assert one.seqs == [2]
        step = await large.step
        assert isinstance(step, list)
        assert [segment.first_seq for segment in step] == [2]


async def test_a_reader_that_leaves_gets_nothing_any_more(pool: Any) -> None:
    async with started_run(pool) as on, waiting_reader(on) as other:
        async with waiting_reader(on) as left:
            await commit(on)
        await commit(on)
        assert (left.seqs, other.seqs) == ([2], [2, 3])


class ShiftedClock(SystemClock):
    """A clock that a test puts forward."""

    def __init__(self) -> None:
        self.shift = timedelta()

    def now(self) -> datetime:
        return super().now() + self.shift


IN_AN_HOUR = timedelta(hours=1)


def authorization(on: StartedRun, clock: ShiftedClock, lasts: timedelta | None) -> StreamAuthorization:
    principal = Principal(uuid4(), "reader", expires_at=None if lasts is None else clock.now() + lasts)
    return StreamAuthorization(principal, on.thread_id, clock, on_changed=on.broadcaster.wake)


async def test_a_reader_gets_no_segment_after_its_token_has_expired(pool: Any) -> None:
    clock = ShiftedClock()
    async with (
        started_run(pool, clock=clock) as on,
        waiting_reader(on, authorization(on, clock, IN_AN_HOUR)) as reader,
        waiting_reader(on, authorization(on, clock, 3 * IN_AN_HOUR)) as other,
    ):
        await commit(on)
        assert reader.seqs == [2]
        clock.shift = 2 * IN_AN_HOUR
        await commit(on)
        with pytest.raises(Unauthenticated):
            await reader.step
        assert reader.seqs == [2]
        step = await other.step
        assert isinstance(step, list)
        assert [segment.first_seq for segment in step] == [3]


async def test_a_reader_gets_no_heartbeat_after_its_token_has_expired(pool: Any) -> None:
    clock = ShiftedClock()
    async with (
        started_run(pool, clock=clock) as on,
        waiting_reader(on, authorization(on, clock, IN_AN_HOUR)) as reader,
        waiting_reader(on, authorization(on, clock, 3 * IN_AN_HOUR)) as other,
    ):
        clock.shift = 2 * IN_AN_HOUR
        await on.broadcaster.send_heartbeats()
        with pytest.raises(Unauthenticated):
            await reader.step
        assert reader.written == []
        assert await other.step == Heartbeat(1, "")


async def test_a_newer_token_that_expires_earlier_counts_at_once(pool: Any) -> None:
    clock = ShiftedClock()
    async with started_run(pool, clock=clock) as on:
        right = authorization(on, clock, 3 * IN_AN_HOUR)
        async with waiting_reader(on, right) as reader:
            user_id = right.caller_and_thread[0]
            right.renew(Principal(user_id, "reader", expires_at=clock.now() + IN_AN_HOUR))
            await asyncio.sleep(0)
            clock.shift = 2 * IN_AN_HOUR
            await commit(on)
            with pytest.raises(Unauthenticated):
                await reader.step
            assert reader.seqs == []


async def test_a_reader_gets_no_segment_after_its_right_was_revoked(pool: Any) -> None:
    clock = ShiftedClock()
    async with started_run(pool, clock=clock) as on:
        right = authorization(on, clock, None)
        async with waiting_reader(on, right) as reader:
            right.revoke(PermissionDenied("no longer"))
            await commit(on)
            with pytest.raises(PermissionDenied):
                await reader.step
            assert reader.seqs == []
