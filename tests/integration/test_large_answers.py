"""Large answers of the runtime: few at a time, and read beside the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from server.domain.off_loop import SMALL_BYTES
from server.runtime.calls import Answer, RuntimeCalls
from tests.support.servers import answer, http_server

LARGE = b'"' + b"x" * (2 * SMALL_BYTES) + b'"'


@asynccontextmanager
async def large_answers(total_s: float) -> AsyncIterator[RuntimeCalls]:
    """Calls of a runtime whose answers are large."""

    async def answerer(head: bytes, request: bytes, writer: asyncio.StreamWriter) -> bytes:
        return answer(200, LARGE)

    async with http_server(answerer) as base:
        calls = RuntimeCalls(
            base,
            connect_s=60,
            read_s=60,
            total_s=total_s,
            max_answer_bytes=2 * len(LARGE),
            on_answer=lambda endpoint, status: None,
        )
        try:
            yield calls
        finally:
            await calls.close()


async def test_few_large_answers_are_taken_at_a_time_and_the_wait_is_not_the_runtimes() -> None:
    async with large_answers(total_s=5) as calls, AsyncExitStack() as kept:
        for _ in range(2):
            await calls.call("state", "GET", "/", place=kept)
        async with AsyncExitStack() as place:
            third = asyncio.create_task(calls.call("state", "GET", "/", place=place))
            # Longer than a call may take.
            done, _ = await asyncio.wait({third}, timeout=6)
            assert not done
            await kept.aclose()
            assert (await third).body == LARGE


async def test_a_large_answer_is_read_beside_the_event_loop() -> None:
    def where(body: bytes) -> str:
        return threading.current_thread().name

    async with large_answers(total_s=60) as calls:
        assert (await calls.read(Answer(200, "", LARGE), where)).startswith("runs")
        assert await calls.read(Answer(200, "", b"{}"), where) == threading.current_thread().name
