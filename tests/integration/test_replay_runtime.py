"""The replay runtime behaves like the real one, over real connections."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from server.domain.errors import RuntimeRefused
from server.domain.runs.runtime import Invocation, StreamClosed
from server.frames.interpreter import Interpreter
from server.replay.app import create_replay_app
from server.replay.recording import RecordingError
from server.runtime.client import DeepagentsRuntime
from tests.support.recordings import NAMES, expected, frames
from tests.support.runtime import frames_of
from tests.support.servers import asgi_server

GOOD = {
    "trace_id": "t",
    "job_id": "j",
    "agent_definition": {"user_request": "x"},
    "input_payload": {"messages": []},
}


@pytest.fixture
async def base() -> AsyncIterator[str]:
    async with asgi_server(create_replay_app(unknown_thread_s=0.1, progress_s=0.02)) as address:
        yield address


@pytest.fixture
async def runtime(base: str) -> AsyncIterator[DeepagentsRuntime]:
    async with DeepagentsRuntime(base) as client:
        yield client


async def start(runtime: DeepagentsRuntime, prompt: str, job_id: UUID | None = None) -> str:
    payload = {"messages": [{"role": "user", "content": prompt}]}
    return await runtime.invoke(Invocation(uuid4(), job_id or uuid4(), {"user_request": prompt}, payload))


async def received(runtime: DeepagentsRuntime, thread_id: str) -> tuple[bytes, ...]:
    async with frames_of(runtime, thread_id) as stream:
        return tuple([frame async for frame in stream])


@pytest.mark.parametrize("name", NAMES)
async def test_every_subscriber_even_a_late_one_gets_the_whole_recording(
    runtime: DeepagentsRuntime, name: str
) -> None:
    thread_id = await start(runtime, f"please [[replay:{name}]]")
    both = await asyncio.gather(received(runtime, thread_id), received(runtime, thread_id))
    late = await received(runtime, thread_id)
    assert [*both, late] == [frames(name)] * 3
    state = await runtime.state(thread_id)
    assert state is not None
    assert state.status == expected(name)["outcome"]
    assert {path: file.sha256 for path, file in (state.files or {}).items()} == {
        path: file["sha256"] for path, file in expected(name)["files"].items()
    }
    assert (state.error is not None) is (state.status == "failed")


async def test_several_threads_play_their_own_recordings_at_once(runtime: DeepagentsRuntime) -> None:
    threads = [await start(runtime, f"[[replay:{name}]]") for name in NAMES * 2]
    found = await asyncio.gather(*(received(runtime, thread_id) for thread_id in threads))
    assert found == [frames(name) for name in NAMES * 2]


async def test_a_paced_run_continues_alone_and_its_state_shows_its_progress(
    runtime: DeepagentsRuntime,
) -> None:
    seen: set[tuple[str, int]] = set()
    # A fast one may be over before a busy machine asks for the first state.
    for speed in (20, 5, 1):
        thread_id = await start(runtime, f"[[replay:short_run speed={speed}]]")
        interpreter = Interpreter()
        async with frames_of(runtime, thread_id) as stream:
            async for frame in stream:
                interpreter.interpret(frame)
                state = await runtime.state(thread_id)
                assert state is not None
                # The state may be ahead of the stream but never late.
                seen.add((state.status, len(state.files or {})))
                assert len(state.files or {}) >= len(interpreter.files.by_path)
        if seen >= {("running", 0), ("running", 2)}:
            break
    assert seen >= {("running", 0), ("running", 2)}
    state = await runtime.state(thread_id)
    assert state is not None
    assert state.status == "completed"


async def test_a_repeated_job_starts_its_run_again(runtime: DeepagentsRuntime) -> None:
    thread_id = await start(runtime, "[[replay:short_run]]")
    again = Invocation(
        uuid4(), UUID(thread_id), {"user_request": "[[replay:error_mid_stream]]"}, {"messages": [1]}
    )
    await runtime.invoke(again)
    assert await received(runtime, thread_id) == frames("error_mid_stream")


async def test_a_run_may_drop_one_subscriber(runtime: DeepagentsRuntime) -> None:
    thread_id = await start(runtime, "[[replay:short_run drop=5]]")
    async with frames_of(runtime, thread_id) as stream:
        for frame in frames("short_run")[:5]:
            assert await anext(stream) == frame
        with pytest.raises(StreamClosed):
            await anext(stream)
    assert await received(runtime, thread_id) == frames("short_run")


async def test_a_run_may_fall_silent(runtime: DeepagentsRuntime) -> None:
    thread_id = await start(runtime, "[[replay:short_run silent=5]]")
    async with frames_of(runtime, thread_id) as stream:
        for frame in frames("short_run")[:5]:
            assert await anext(stream) == frame
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(stream), 0.05)
    state = await runtime.state(thread_id)
    assert state is not None
    assert state.status == "running"


async def test_an_unknown_thread_shows_progress_and_then_times_out(runtime: DeepagentsRuntime) -> None:
    interpreter = Interpreter()
    meanings = [interpreter.interpret(frame) for frame in await received(runtime, str(uuid4()))]
    assert meanings[0].progress is not None
    assert meanings[-1].end
    assert meanings[-2].error is not None
    assert meanings[-2].error.context == "streaming_timeout"


async def test_a_subscriber_may_come_before_its_job() -> None:
    async with asgi_server(create_replay_app(progress_s=0.01)) as base, DeepagentsRuntime(base) as runtime:
        job_id = uuid4()
        async with frames_of(runtime, str(job_id)) as stream:
            assert Interpreter().interpret(await anext(stream)).progress is not None
            await runtime.invoke(Invocation(uuid4(), job_id, {"user_request": "x"}, {"messages": [1]}))
            rest = [frame async for frame in stream]
        assert tuple(rest[-51:]) == frames("short_run")


@pytest.mark.parametrize("prompt", ["[[replay:nothing]]", "[[replay:short_run fast=1]]", "[[replay:]]"])
async def test_an_invalid_directive_is_refused(runtime: DeepagentsRuntime, prompt: str) -> None:
    with pytest.raises(RuntimeRefused) as refused:
        await start(runtime, prompt)
    assert refused.value.status == 422


@pytest.mark.parametrize(
    "job",
    [
        {},
        [],
        *({key: value for key, value in GOOD.items() if key != gone} for gone in GOOD),
        {**GOOD, "agent_definition": {}},
        {**GOOD, "input_payload": {}},
        {**GOOD, "job_id": "  "},
        {**GOOD, "trace_id": 3},
        {**GOOD, "agent_definition": {"replay": "nothing"}},
    ],
)
async def test_a_job_that_the_runtime_would_refuse_is_refused(base: str, job: Any) -> None:
    async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=60) as client:
        answer = await client.post("/deepagents-runtime/invoke", json=job)
    assert answer.status_code == 422
    assert answer.json()["detail"]


async def test_the_other_answers_equal_the_runtimes(base: str) -> None:
    async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=60) as client:
        accepted = await client.post("/deepagents-runtime/invoke", json=GOOD)
        assert (accepted.status_code, accepted.json()) == (200, {"thread_id": "j", "status": "started"})
        assert (await client.post("/deepagents-runtime/invoke", content=b"{")).status_code == 422
        assert (await client.get("/deepagents-runtime/state/none")).status_code == 404
        assert (await client.get("/health")).json()["status"] == "healthy"
        assert (await client.get("/ready")).json()["status"] == "ready"


async def test_recordings_may_come_from_a_directory(tmp_path: Path) -> None:
    frame = json.dumps({"event_type": "end", "data": {"x": "\u2028"}}, ensure_ascii=False)
    (tmp_path / "mine.jsonl").write_text(frame + "\n", newline="\n", encoding="utf-8")
    (tmp_path / "empty.jsonl").write_text("")
    async with asgi_server(create_replay_app(tmp_path)) as base, DeepagentsRuntime(base) as runtime:
        thread_id = await start(runtime, "no directive")
        assert await received(runtime, thread_id) == (frame.encode(),)
    (tmp_path / "mine.jsonl").unlink()
    with pytest.raises(RecordingError):
        create_replay_app(tmp_path)
