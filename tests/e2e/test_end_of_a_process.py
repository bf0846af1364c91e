"""A command ends when its work is done."""

from __future__ import annotations

import subprocess
import sys
import time

from server.cli.event_loop import LEAVE_S
from tests.support.processes import ROOT, clean_environment

#: Its loop waits for a thread, as while the name service is silent.
WITH_A_STUCK_THREAD = """
import asyncio, time
from server.cli.event_loop import run_command

async def work(stop):
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)
    return 7

run_command(work)
"""


def test_a_thread_that_is_stuck_does_not_keep_a_command_whose_work_is_done() -> None:
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", WITH_A_STUCK_THREAD],
        cwd=ROOT,
        env=clean_environment({}),
        check=False,
        timeout=50,
    )
    assert ended.returncode == 7
    # With the time to start an interpreter.
    assert time.monotonic() - began < LEAVE_S + 20
