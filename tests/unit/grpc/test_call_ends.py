"""When grpc learns that a call has ended."""

from __future__ import annotations

import asyncio

from server.domain.endings import ENDS_PER_TURN, Endings
from server.grpc.call_ends import CallEnd


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
