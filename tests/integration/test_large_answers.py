"""Large answers of the runtime: few at a time, and read beside the event loop."""

from __future__ import annotations

import asyncio
import threading
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from server.runtime.calls import Answer, RuntimeCalls
from server.runtime.client import _state_in
from tests.support.servers import http_server, send_answer

LARGE = b'"' + b"x" * (8 << 20) + b'"'


@asynccontextmanager
async def large_answers(total_s: float) -> AsyncIterator[RuntimeCalls]:
    """Calls of a runtime whose answers are large."""

    async def answerer(head: bytes, request: bytes, writer: asyncio.StreamWriter) -> bytes:
        await send_answer(writer, 200, LARGE)
        return b""

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


async def test_an_answer_is_taken_without_a_copy() -> None:
    async with large_answers(total_s=60) as calls, AsyncExitStack() as place:
        tracemalloc.start()
        try:
            taken = await calls.call("state", "GET", "/", place=place)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert taken.body == LARGE
    assert peak_bytes < 1.5 * len(LARGE)


@pytest.mark.parametrize(
    "entry",
    [
        b'"' + b"a line\\n" * (1 << 20) + b'"',
        b'{"content":"' + b"a line\\n" * (1 << 20) + b'","created_at":"t","mode":7}',
    ],
)
def test_of_a_state_only_the_text_of_a_file_and_its_content_are_made(entry: bytes) -> None:
    answer = b'{"status":"completed","generated_files":{"/a":' + entry + b"}}"
    tracemalloc.start()
    try:
        state = _state_in(answer)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert state is not None
    assert state.files is not None
    assert state.files["/a"].content == b"a line\n" * (1 << 20)
    assert peak_bytes < 2.1 * len(answer)


async def test_a_large_answer_is_read_beside_the_event_loop() -> None:
    def where(body: bytes) -> str:
        return threading.current_thread().name

    async with large_answers(total_s=60) as calls:
        assert (await calls.read(Answer(200, "", LARGE), where)).startswith("runs")
        assert await calls.read(Answer(200, "", b"{}"), where) == threading.current_thread().name
