"""When grpc learns that a call has ended."""

from __future__ import annotations

import asyncio

from server.domain.endings import ENDS_PER_TURN, Endings
from server.grpc.call_ends import CallEnd, CallLoop, waiting


async def test_a_call_that_goes_on_ends_at_once_and_those_that_wait_in_turns() -> None:
    loop = asyncio.get_running_loop()
    endings = Endings()
    waits, goes_on = [CallEnd(endings, loop) for _ in range(2 * ENDS_PER_TURN + 1)], CallEnd(endings, loop)
    for end in waits:
        end.waits = True
        end.set_result(None)
    goes_on.set_result(None)
    assert goes_on.done()
    finished = []
    for _ in range(4):
        finished.append(sum(end.done() for end in waits))
        await asyncio.sleep(0)
    assert finished == [0, ENDS_PER_TURN, 2 * ENDS_PER_TURN, 2 * ENDS_PER_TURN + 1]


async def test_a_call_that_ended_while_it_waited_does_not_go_on() -> None:
    loop, turn, went_on = CallLoop(asyncio.get_running_loop()), asyncio.Event(), []

    async def handle(ends: bool) -> None:
        with waiting():
            await turn.wait()
        went_on.append(ends)

    calls = {}
    for ends in (True, False):
        # As grpc.aio does with each call.
        handler = loop.create_task(handle(ends), name="HandleExceptions[M]")
        calls[handler] = loop.create_future()
    await asyncio.sleep(0)
    left, stays = calls
    calls[left].set_result(None)
    turn.set()
    await asyncio.wait(calls)
    assert left.cancelled()
    assert not stays.cancelled()
    assert went_on == [False]
