"""One deadline for many awaitables."""

from __future__ import annotations

import asyncio

import pytest

from server.grpc.shared_deadline import SharedDeadline
from tests.support.hand_clock import without_pauses


@without_pauses
async def test_a_wait_that_ends_in_time_is_not_disturbed() -> None:
    deadline = SharedDeadline(0.05)
    await asyncio.gather(*(deadline.limit(asyncio.sleep(0.01)) for _ in range(20)))
    # Beyond the first deadline: what ended is no longer timed.
    await asyncio.gather(*(deadline.limit(asyncio.sleep(0.04)) for _ in range(20)))
    await asyncio.sleep(0.05)


@without_pauses
async def test_each_wait_has_its_own_deadline() -> None:
    deadline, loop = SharedDeadline(0.1), asyncio.get_running_loop()

    async def seconds(after_s: float) -> float:
        await asyncio.sleep(after_s)
        began = loop.time()
        with pytest.raises(TimeoutError):
            await deadline.limit(asyncio.Event().wait())
        return loop.time() - began

    took = await asyncio.gather(*(seconds(at / 50) for at in range(8)))
    assert took == pytest.approx([0.1] * 8)


async def test_a_wait_that_is_cancelled_by_its_caller_stays_cancelled() -> None:
    deadline = SharedDeadline(60)
    began = asyncio.Event()

    async def write() -> None:
        began.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(deadline.limit(write()))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_caller_that_is_cancelled_at_the_deadline_stays_cancelled() -> None:
    deadline = SharedDeadline(0.01)

    async def write() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            # As a disconnect that comes at the same moment.
            task.cancel()

    task = asyncio.create_task(deadline.limit(write()))
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_is_raised() -> None:
    async def fail() -> None:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await SharedDeadline(1).limit(fail())


async def test_a_wait_that_expires_ends_alone_and_one_that_has_ended_is_left_alone() -> None:
    deadline = SharedDeadline(60)
    first, second, ended = (
        asyncio.create_task(deadline.limit(wait))
        for wait in (asyncio.Event().wait(), asyncio.sleep(0.05, "second"), asyncio.sleep(0, "ended"))
    )
    assert await ended == "ended"
    deadline.expire(ended)
    deadline.expire(first)
    deadline.expire(first)
    with pytest.raises(TimeoutError):
        await first
    assert await second == "second"
