"""Frames that are interpreted off the event loop: their order, their files, and the end of a run among
them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from server.compiled.spliced import SplicingInterpreter
from server.domain.journal.events import (
    Discontinuity,
    FrameReason,
    StateUpdate,
    Terminal,
    Token,
    UpstreamFrame,
)
from server.domain.off_loop import SMALL_BYTES
from server.frames.structure import MAX_MEMBERS
from tests.support.driven import Driven, driven, verdict
from tests.support.hand_clock import until
from tests.support.runtime import (
    CLOSE,
    END,
    SILENCE,
    ScriptedRuntime,
    files_frame,
    serve_runtime,
    state_frame,
    token_frame,
)

LARGE, MIB = "a" * SMALL_BYTES, 1 << 20


@pytest.fixture
def hub(database: str, pool: Any) -> Any:
    @asynccontextmanager
    async def opened(script: ScriptedRuntime, **settings: Any) -> AsyncIterator[Driven]:
        async with serve_runtime(script) as url, driven(url, database, pool, **settings) as on:
            yield on

    return opened


async def test_large_and_small_frames_are_journalled_in_their_order(hub: Any) -> None:
    frames: list[Any] = []
    for number in range(10):
        frames += [token_frame(f"{number}"), files_frame(a=f"{number}{LARGE}"), token_frame(LARGE)]
    async with hub(ScriptedRuntime([[*frames, END]])) as on:
        proposal, events = await on.outcome(await on.start())
    assert verdict(proposal) == ("completed", None, {"/a": f"9{LARGE}"})
    assert [event.seq for event in events] == list(range(1, len(frames) + 3))
    kinds = [event.kind for event in events[1:-1]]
    for number, (token, state, large) in enumerate(zip(kinds[::3], kinds[1::3], kinds[2::3], strict=True)):
        assert isinstance(token, Token)
        assert token.text == f"{number}"
        assert isinstance(state, StateUpdate)
        [change] = state.files
        assert change.file is not None
        assert change.file.text == f"{number}{LARGE}"
        assert isinstance(large, Token)
        assert large.text == LARGE
    assert isinstance(events[-1].kind, Terminal)


async def test_a_large_error_frame_is_the_runs_error(hub: Any) -> None:
    error = {"event_type": "error", "data": {"error": "it broke", "more": LARGE}}
    async with hub(ScriptedRuntime([[files_frame(a="1"), error, END]])) as on:
        proposal, _ = await on.outcome(await on.start())
    assert proposal.failure is not None
    assert (proposal.failure.reason, proposal.failure.message) == ("upstream_error", "it broke")


async def test_a_frame_that_is_too_complex_is_kept_and_the_state_has_the_files(hub: Any) -> None:
    many = state_frame(**{f"k{number}": 0 for number in range(MAX_MEMBERS)}, files={})
    state = {"status": "completed", "generated_files": {"/a": {"content": f"state{LARGE}"}}}
    script = ScriptedRuntime([[files_frame(a="1"), many, END]], [state])
    async with hub(script) as on:
        proposal, events = await on.outcome(await on.start())
    assert UpstreamFrame("", FrameReason.TOO_COMPLEX, json.dumps(many).encode()) in [
        event.kind for event in events
    ]
    assert verdict(proposal) == ("completed", None, {"/a": f"state{LARGE}"})


async def test_a_run_that_is_cancelled_among_large_frames_has_the_files_of_its_journal(hub: Any) -> None:
    frames = [files_frame(**{f"f{number}": LARGE for number in range(count)}) for count in range(1, 30)]
    async with hub(ScriptedRuntime([[*frames, SILENCE]])) as on:
        started = await on.start()
        await on.core.refinements.cancel(on.user, started.thread_id)
        proposal, events = await on.outcome(started)
    assert proposal.status.value == "cancelled"
    shown = {
        change.path for event in events if isinstance(event.kind, StateUpdate) for change in event.kind.files
    }
    assert proposal.files.keys() == shown


async def test_files_for_which_there_is_no_room_are_read_from_the_journal_at_the_end(hub: Any) -> None:
    mebibytes = {f"f{number}": str(number) * MIB for number in range(5)}
    frames = [
        files_frame(**mebibytes, small="1"),
        files_frame(**mebibytes, small="2"),
        files_frame(**mebibytes | {"f0": "x" * MIB}, small="2"),
        END,
    ]
    async with hub(ScriptedRuntime([frames] * 4), max_total_queue_mib=32) as on:
        context, released = on.core.runner.context, set[str]()

        class Noting(SplicingInterpreter):
            @property
            def released_files(self) -> Mapping[str, int]:
                found = super().released_files
                released.update(found)
                return found

        on.core.runner.context = replace(context, interpreter=Noting)
        budget = context.budget
        outcomes = await asyncio.gather(*[on.outcome(await on.start()) for _ in range(4)])
        await until(lambda: budget.used_bytes == 0)
    # A quarter of the budget has room for the files of one run, and not for those of four.
    assert released
    for proposal, events in outcomes:
        last = {f"/{name}": text for name, text in (mebibytes | {"f0": "x" * MIB, "small": "2"}).items()}
        assert verdict(proposal) == ("completed", None, last)
        changed = [
            [change.path for change in event.kind.files]
            for event in events
            if isinstance(event.kind, StateUpdate)
        ]
        assert changed == [["/f0", "/f1", "/f2", "/f3", "/f4", "/small"], ["/small"], ["/f0"]]


async def test_large_states_that_are_read_whole_are_journalled_and_leave_their_room(hub: Any) -> None:
    files = {f"f{number}": LARGE[: SMALL_BYTES // 4] for number in range(8)}
    frames = []
    for number in range(40):
        files[f"f{number % 8}"] = f"{number} {LARGE[: SMALL_BYTES // 4]}"
        frames += [files_frame(**files), token_frame(f"{number}")]
    async with hub(ScriptedRuntime([[*frames, END]]), max_total_queue_mib=32) as on:
        budget = on.core.runner.context.budget
        proposal, events = await on.outcome(await on.start())
        await until(lambda: budget.used_bytes == 0)
    assert verdict(proposal) == ("completed", None, {f"/{name}": text for name, text in files.items()})
    kinds = [event.kind for event in events[1:-1]]
    assert [kind.text for kind in kinds[1::2] if isinstance(kind, Token)] == [str(n) for n in range(40)]
    changed = [[change.path for change in kind.files] for kind in kinds[::2] if isinstance(kind, StateUpdate)]
    assert changed[1:] == [[f"/f{number % 8}"] for number in range(1, 40)]


async def test_large_frames_are_found_again_when_the_stream_repeats_them(hub: Any) -> None:
    first: list[Any] = [token_frame("a"), files_frame(a=f"1{LARGE}"), token_frame(LARGE)]
    script = ScriptedRuntime([[*first, CLOSE], [*first, files_frame(a=f"2{LARGE}"), END]])
    async with hub(script, runtime_profile="full") as on:
        proposal, events = await on.outcome(await on.start())
    assert verdict(proposal) == ("completed", None, {"/a": f"2{LARGE}"})
    assert not any(isinstance(event.kind, Discontinuity) for event in events)
    assert len(events) == 6
