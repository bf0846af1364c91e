"""A command ends when its work is done."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.processes import ROOT, clean_environment

#: Its loop waits for a thread, as while the name service is silent.
WITH_A_STUCK_THREAD = """
import asyncio, time
from server.cli.event_loop import run_command

async def work(stop):
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 600)
    return 7

run_command(work)
"""


#: The same, in a shell's completion.
COMPLETION_WITH_A_STUCK_THREAD = """
import asyncio, time
from server.cli.hub_session import ask_hub

async def work(client):
    await asyncio.get_running_loop().run_in_executor(None, time.sleep, 600)

ask_hub(work, within_s=0.1)
"""


@pytest.mark.parametrize(("script", "code"), [(WITH_A_STUCK_THREAD, 7), (COMPLETION_WITH_A_STUCK_THREAD, 0)])
def test_a_thread_that_is_stuck_does_not_keep_a_command_whose_work_is_done(script: str, code: int) -> None:
    # Ten minutes, that is; an interpreter that starts and imports takes far less.
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=clean_environment({"IDEO_TOKEN": "any"}),
        check=False,
        timeout=100,
    )
    assert ended.returncode == code
