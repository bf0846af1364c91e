"""The worker: its death in the middle of a computation, its bounds, its end, and large frames in it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from server.domain.access.on_behalf_of import on_behalf_of
from server.domain.journal.events import FrameReason, StateUpdate, Token, UpstreamFrame
from server.domain.off_loop import SMALL_BYTES
from server.domain.runs.context import LARGE_BYTES
from server.domain.runs.frame_worker import FrameNotRead, FramePlace
from server.domain.worker import NotComputed, WorkerMissing
from server.frames.interpreter import Interpreter
from server.worker.frames import FramesInWorker
from server.worker.worker import WorkerProcess, command
from tests.hostile.attacks.recordings import frames_of
from tests.support.driven import Driven, driven, verdict
from tests.support.hand_clock import turns, until
from tests.support.killed_worker import killed
from tests.support.processes import ROOT
from tests.support.runtime import (
    CLOSE,
    END,
    SILENCE,
    ScriptedRuntime,
    files,
    files_frame,
    serve_runtime,
    state_frame,
    token_frame,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLACE = FramePlace(7, 1, NOON, NOON, 0)
LARGE, SMALL = "a" * LARGE_BYTES, "b" * SMALL_BYTES


@asynccontextmanager
async def worker(*started_by: str, **options: Any) -> AsyncIterator[WorkerProcess]:
    made = WorkerProcess("frames", started_by, **options)
    try:
        yield made
    finally:
        await made.close()


async def ask(asked: WorkerProcess, frame: bytes) -> Any:
    return await FramesInWorker(asked).interpret(*Interpreter().dump(), frame, PLACE)


def _is_gone(pid: int) -> bool:
    return not is_alive(pid)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_frame_is_read_again_when_the_worker_is_killed_in_the_middle_of_it(tmp_path: Path) -> None:
    frame = frames_of("large-token")[0]
    async with worker() as steady, worker(*killed("frames", 1, tmp_path)) as shaken:
        assert await ask(shaken, frame) == await ask(steady, frame)
        assert shaken.pid is not None


@pytest.mark.parametrize(
    "started_by",
    [command("frames", max_cpu_s=0.01), command("frames", max_bytes=64 << 20)],
    ids=["processor time", "memory"],
)
async def test_a_frame_that_takes_too_much_is_not_read(started_by: tuple[str, ...]) -> None:
    async with worker(*started_by) as bounded:
        with pytest.raises(FrameNotRead):
            await ask(bounded, frames_of("large-text")[0])
        assert bounded.pid is None


@pytest.mark.parametrize("started_by", [("/there/is/none",), ("/bin/false",)])
async def test_a_worker_that_does_not_start_is_missing(started_by: tuple[str, ...]) -> None:
    async with worker(*started_by) as missing:
        for _ in range(2):
            with pytest.raises(WorkerMissing):
                await ask(missing, b"{}")


async def test_an_idle_worker_ends_and_another_begins() -> None:
    async with worker(idle_s=0.0) as idle:
        for _ in range(2):
            await ask(idle, b"{}")
            pid = idle.pid
            assert pid is not None
            await until(partial(_is_gone, pid))


async def test_a_closed_worker_leaves_no_process() -> None:
    async with worker() as closed:
        await ask(closed, b"{}")
        pid = closed.pid
    assert pid is not None
    assert not is_alive(pid)


_HUB = """
import asyncio
from datetime import UTC, datetime
from server.domain.runs.frame_worker import FramePlace
from server.frames.interpreter import Interpreter
from server.worker.frames import FramesInWorker
from server.worker.worker import WorkerProcess

async def main():
    worker, noon = WorkerProcess("frames"), datetime(2026, 3, 1, tzinfo=UTC)
    await FramesInWorker(worker).interpret(*Interpreter().dump(), b"{}", FramePlace(1, 1, noon, noon, 0))
    print(worker.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_the_worker_of_a_hub_that_is_killed_ends() -> None:
    hub = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _HUB, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    try:
        assert hub.stdout is not None
        pid = int(await hub.stdout.readline())
        assert is_alive(pid)
    finally:
        hub.send_signal(signal.SIGKILL)
        await hub.wait()
    await until(partial(_is_gone, pid))


@pytest.fixture
def hub(database: str, pool: Any) -> Any:
    @asynccontextmanager
    async def opened(script: ScriptedRuntime, *started_by: str, **settings: Any) -> AsyncIterator[Driven]:
        async with (
            serve_runtime(script) as url,
            driven(url, database, pool, **settings) as on,
            worker(*started_by) as made,
        ):
            on.core.runner.context = replace(on.core.runner.context, worker=FramesInWorker(made))
            yield on

    return opened


async def test_those_for_whom_it_computes_take_turns() -> None:
    ended: list[str] = []

    async def compute(caller: str, name: str) -> None:
        on_behalf_of.set(caller)
        await computing.run(str, name)
        ended.append(name)

    async with worker() as computing:
        names = [("ann", "a1"), ("ann", "a2"), ("ann", "a3"), ("bob", "b1")]
        await asyncio.gather(*(compute(caller, name) for caller, name in names))
    assert ended == ["a1", "a2", "b1", "a3"]


async def test_a_computation_that_nobody_waits_for_does_not_begin(tmp_path: Path) -> None:
    async with worker() as computing:
        first = asyncio.ensure_future(computing.run(str, "first"))
        second = asyncio.ensure_future(computing.run(os.mkdir, tmp_path / "made"))
        await turns()
        second.cancel()
        assert await first == "first"
        assert await computing.run(str, "third") == "third"
    assert not (tmp_path / "made").exists()


async def test_a_computation_whose_caller_has_gone_keeps_nobody_waiting(tmp_path: Path) -> None:
    async with worker() as computing:
        await computing.run(bool)
        pid = computing.pid
        left = asyncio.ensure_future(computing.run(signal.sigwait, {signal.SIGUSR1}))
        await turns()
        left.cancel()
        assert await computing.run(str, "next") == "next"
        assert computing.pid != pid


async def test_a_worker_that_nobody_waits_for_any_more_is_kept_for_the_next() -> None:
    async with worker() as computing:
        left = asyncio.ensure_future(computing.run(bool))
        await turns()
        left.cancel()
        await asyncio.wait([left])
        pid = computing.pid
        assert pid is not None
        await computing.run(bool)
        assert computing.pid == pid


@pytest.mark.parametrize("state", ["computes", "starts"])
async def test_a_worker_that_is_stuck_keeps_nobody_from_closing_it(state: str) -> None:
    stuck = WorkerProcess("frames", ("/bin/sleep", "1000") if state == "starts" else ())
    if state == "computes":
        await stuck.run(bool)
    waiting = [asyncio.ensure_future(stuck.run(signal.sigwait, {signal.SIGUSR1})) for _ in range(3)]
    await turns()
    if stuck.pid is not None:
        # It takes no processor time, which would end it.
        os.kill(stuck.pid, signal.SIGSTOP)
    async with asyncio.timeout(20):
        await stuck.close()
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(result) for result in results} == {NotComputed}
    assert stuck.pid is None


async def test_a_worker_that_computes_nothing_any_more_is_replaced() -> None:
    async with worker(stuck_s=0.5) as stuck:
        await stuck.run(bool)
        pid = stuck.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        async with asyncio.timeout(60):
            assert await stuck.run(str, "computed") == "computed"
        assert stuck.pid != pid
        assert not is_alive(pid)


async def test_a_worker_that_computes_for_long_is_not_stuck() -> None:
    async with worker(stuck_s=0.05) as busy:
        await busy.run(bool)
        pid = busy.pid
        assert await busy.run(sum, range(10_000_000)) == 49_999_995_000_000
        assert busy.pid == pid


async def test_a_worker_can_be_started_before_it_is_needed() -> None:
    async with worker(idle_s=60) as computing:
        assert not computing.prepare()
        await until(computing.prepare)
        pid = computing.pid
        await computing.run(bool)
        assert computing.pid == pid


async def test_an_error_of_a_computation_is_its_callers() -> None:
    async with worker() as computing:
        with pytest.raises(ValueError, match="invalid literal"):
            await computing.run(int, "x")
        assert await computing.run(int, "1") == 1


#: Large states among tokens and small frames, of which each depends on those before.
FRAMES: list[Any] = [
    token_frame("one"),
    files_frame(a=f"1{LARGE}", b="small"),
    token_frame("two"),
    token_frame("three"),
    files_frame(a=f"1{LARGE}", b=SMALL),
    files_frame(a=f"2{LARGE}", b=SMALL),
    token_frame(LARGE),
    token_frame("four"),
    files_frame(b=SMALL, c="new"),
    END,
]
#: The paths that each of them changes, of the states, or its text.
CHANGES: list[Any] = ["one", ["/a", "/b"], "two", "three", ["/b"], ["/a"], LARGE, "four", ["/a", "/c"]]


@pytest.mark.parametrize("deaths", [0, 1])
async def test_large_frames_are_journalled_once_and_in_order(hub: Any, tmp_path: Path, deaths: int) -> None:
    async with hub(ScriptedRuntime([FRAMES]), *killed("frames", deaths, tmp_path)) as on:
        proposal, events = await on.outcome(await on.start())
    assert verdict(proposal) == ("completed", None, {"/b": SMALL, "/c": "new"})
    assert [event.seq for event in events] == list(range(1, len(FRAMES) + 2))
    kinds = [event.kind for event in events[1:-1]]
    found = [
        kind.text if isinstance(kind, Token) else [change.path for change in kind.files]
        for kind in kinds
        if isinstance(kind, Token | StateUpdate)
    ]
    assert found == CHANGES


async def test_the_large_files_of_a_run_are_those_of_its_last_state(hub: Any, tmp_path: Path) -> None:
    async with hub(ScriptedRuntime([[*FRAMES[:6], END]])) as on:
        proposal, _ = await on.outcome(await on.start())
    assert verdict(proposal) == ("completed", None, {"/a": f"2{LARGE}", "/b": SMALL})


async def test_a_frame_that_is_being_read_keeps_no_other_run_from_being_handed_over(
    hub: Any, pool: Any, tmp_path: Path
) -> None:
    stuck = ("/bin/sleep", "1000")
    async with hub(ScriptedRuntime([[token_frame(LARGE), SILENCE], [SILENCE]]), *stuck) as on:
        slow, other = await on.start(), await on.start()
        await until(lambda: on.core.runner.context.large_work.locked())
        on.core.runner.context = replace(
            on.core.runner.context, limits=replace(on.core.runner.context.limits, max_close_s=30.0)
        )
        async with asyncio.timeout(15):
            await on.core.runner.close()
        rows = await pool.fetch(
            "SELECT owner FROM runs WHERE thread_id = ANY($1)", [slow.thread_id, other.thread_id]
        )
        assert [row["owner"] for row in rows] == [None, None]


async def test_a_frame_that_nothing_can_read_is_kept_and_the_run_goes_on(hub: Any, tmp_path: Path) -> None:
    large = files_frame(a=LARGE)
    state = {"status": "completed", "generated_files": {"/a": {"content": LARGE}}}
    script = ScriptedRuntime([[files_frame(b="1"), large, END]], [state])
    async with hub(script, *killed("frames", 2, tmp_path)) as on:
        proposal, events = await on.outcome(await on.start())
    kept = [event.kind for event in events if isinstance(event.kind, UpstreamFrame)]
    assert [kind.reason for kind in kept] == [FrameReason.TOO_COMPLEX]
    assert verdict(proposal) == ("completed", None, {"/a": LARGE})


async def test_without_a_worker_the_hub_reads_the_frame(hub: Any) -> None:
    async with hub(ScriptedRuntime([[files_frame(a=LARGE), END]]), "/there/is/none") as on:
        proposal, _ = await on.outcome(await on.start())
    assert verdict(proposal) == ("completed", None, {"/a": LARGE})


async def test_large_frames_that_the_stream_repeats_are_found_again(hub: Any) -> None:
    script = ScriptedRuntime([[*FRAMES[:4], CLOSE], FRAMES])
    async with hub(script, runtime_profile="full") as on:
        proposal, events = await on.outcome(await on.start())
    assert verdict(proposal) == ("completed", None, {"/b": SMALL, "/c": "new"})
    assert len(events) == len(FRAMES) + 1


async def test_large_frames_behind_a_gap_are_in_its_epoch(hub: Any) -> None:
    script = ScriptedRuntime([[*FRAMES[:4], CLOSE], [files_frame(a=f"3{LARGE}"), END]])
    async with hub(script) as on:
        proposal, events = await on.outcome(await on.start())
    assert verdict(proposal) == ("completed", None, {"/a": f"3{LARGE}"})
    assert [(event.seq, event.epoch) for event in events[-3:]] == [(6, 2), (7, 2), (8, 2)]


async def test_a_question_in_a_large_frame_is_asked(hub: Any) -> None:
    asks = state_frame(files=files(a=LARGE), __interrupt__="[Interrupt(value='ok?')]")
    async with hub(ScriptedRuntime([[asks, END]])) as on:
        started = await on.start()
        await on.waiting(started)
        await on.core.refinements.cancel(on.user, started.thread_id)
        proposal, _ = await on.outcome(started)
    assert verdict(proposal) == ("cancelled", "cancelled", {"/a": LARGE})
