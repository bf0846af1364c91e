"""The threads of grpc beside the event loop's."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from server.grpc.threads import NICE
from tests.support.grpc_interface import open_grpc_hub

#: Names that grpc's core gives its threads.
_NAMES = ("event_engine", "grpc_global_tim", "lifeguard")


def _policies() -> dict[str, set[tuple[int, int]]]:
    """How the system schedules grpc's threads, and how nice they are, by name."""
    found: dict[str, set[tuple[int, int]]] = {}
    for task in Path("/proc/self/task").iterdir():
        name = (task / "comm").read_text().strip()
        if name in _NAMES:
            found.setdefault(name, set()).add(_policy(int(task.name)))
    return found


def _policy(thread: int) -> tuple[int, int]:
    return os.sched_getscheduler(thread), os.getpriority(os.PRIO_PROCESS, thread)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such policy")
async def test_the_threads_of_grpc_let_the_event_loop_go_on(database: str) -> None:
    before = _policy(threading.get_native_id())
    async with open_grpc_hub(database) as hub:
        await hub.caller().workflow()
        policies = _policies()
        assert "event_engine" in policies
        assert set().union(*policies.values()) == {(os.SCHED_BATCH, min(before[1] + NICE, 19))}
        assert _policy(threading.get_native_id()) == before
        assert before[0] == os.SCHED_OTHER
