"""The threads of grpc beside the event loop's."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from tests.support.grpc_interface import open_grpc_hub

#: Names that grpc's core gives its threads.
_NAMES = ("event_engine", "grpc_global_tim", "lifeguard")


def _policies() -> dict[str, set[int]]:
    """How the system schedules grpc's threads, by name."""
    found: dict[str, set[int]] = {}
    for task in Path("/proc/self/task").iterdir():
        name = (task / "comm").read_text().strip()
        if name in _NAMES:
            found.setdefault(name, set()).add(os.sched_getscheduler(int(task.name)))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such policy")
async def test_the_threads_of_grpc_never_interrupt_the_event_loop(database: str) -> None:
    before = os.sched_getscheduler(threading.get_native_id())
    async with open_grpc_hub(database) as hub:
        await hub.caller().workflow()
        policies = _policies()
        assert "event_engine" in policies
        assert set().union(*policies.values()) == {os.SCHED_BATCH}
        assert os.sched_getscheduler(threading.get_native_id()) == before == os.SCHED_OTHER
