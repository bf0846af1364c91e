"""A run that is taken over continues after whatever its journal holds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.driven import driven, verdict
from tests.support.hand_clock import until
from tests.support.runtime import (
    END,
    SILENCE,
    ScriptedRuntime,
    files,
    files_frame,
    serve_runtime,
    state_frame,
)


def nested(depth: int, shell: str) -> Any:
    """A value nested so deep."""
    value: Any = 1
    for _ in range(depth):
        value = [value] if shell == "list" else {"a": value}
    return value


@pytest.mark.parametrize("shell", ["list", "object"])
@pytest.mark.parametrize("depth", [400, *range(972, 992, 4), 1500])
async def test_a_state_frame_that_is_nested_as_deep_as_the_parser_takes(
    database: str, pool: Any, depth: int, shell: str
) -> None:
    deep = state_frame(files=files(a="1"), messages=[], more=nested(depth, shell))
    runtime = ScriptedRuntime([[files_frame(a="0"), deep, SILENCE], [files_frame(b="2"), END]])
    async with serve_runtime(runtime) as url:
        async with driven(url, database, pool, replica="one") as one:
            started = await one.start()
            await until(lambda: runtime.connections == 1)
            async with asyncio.timeout(60):
                while (await one.core.refinements.get(one.user, started.thread_id)).last_seq < 3:
                    await asyncio.sleep(0.01)
        async with driven(url, database, pool, replica="two") as two:
            two.user = one.user
            proposal, _ = await two.outcome(started)
    assert verdict(proposal) == ("completed", None, {"/b": "2"})
