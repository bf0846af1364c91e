"""The parent of several processes, with processes that serve nothing."""

from __future__ import annotations

import os
import sys

import pytest

from server.cli.child import Assignment
from server.cli.exit_codes import CommandError
from server.cli.processes import Processes
from server.observability.sibling_metrics import Place
from server.ports import CannotListen, check_ports, held_ports, http_listener
from server.settings.loading import load
from tests.support.hand_clock import HandClock

ASSIGNMENTS = [Assignment(Place(number, 2, "group"), 1, 2, None) for number in (1, 2)]
#: The second one ends once it serves.
ENDS = """
import json, sys, time
place = json.loads(sys.stdin.readline())["place"]
print("HTTP here\\ngRPC there", flush=True)
if place["number"] == 2:
    sys.exit(3)
sys.stdin.read()
"""
#: It takes no notice of SIGTERM, as one whose event loop hangs.
HANGS = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("HTTP here\\ngRPC there", flush=True)
time.sleep(60)
"""


def test_held_ports_are_taken_for_any_other_hub_while_no_process_listens_and_not_for_processes() -> None:
    with held_ports(load(env="dev", http_port=0, grpc_port=0)) as held:
        assert 0 not in (held.http_port, held.grpc_port)
        for one in ({"http_port": 0}, {"grpc_port": 0}):
            with pytest.raises(CannotListen, match="in use"):
                check_ports(held.model_copy(update=one))
        with http_listener(held, shared=True) as first, http_listener(held, shared=True) as second:
            first.listen()
            second.listen()
    check_ports(held)


class ImpatientClock(HandClock):
    """Pauses take no time here."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


def processes_of(script: str, clock: HandClock, *, stop_s: float) -> Processes:
    return Processes((sys.executable, "-S", "-c", script), os.environ, clock, stop_s=stop_s)


async def test_a_process_that_ends_again_and_again_ends_the_command_with_its_exit_code() -> None:
    clock = ImpatientClock()
    async with processes_of(ENDS, clock, stop_s=10).running() as processes:
        with pytest.raises(CommandError, match="process 2 ended 6 times in a row") as error:
            await processes.serve(ASSIGNMENTS)
    assert error.value.exit_code == 3
    assert len(clock.pauses) == 5
    assert clock.pauses[-1] > clock.pauses[0]


async def test_the_exit_code_is_that_of_a_first_process_that_never_serves(
    capfd: pytest.CaptureFixture[str],
) -> None:
    script = "import sys; sys.exit(2)"
    async with processes_of(script, ImpatientClock(), stop_s=10).running() as processes:
        assert await processes.serve(ASSIGNMENTS) == 2
    assert capfd.readouterr().out == ""


async def test_a_process_that_does_not_stop_is_killed() -> None:
    async with processes_of(HANGS, ImpatientClock(), stop_s=0.1).running() as processes:
        process, addresses = await processes._start(ASSIGNMENTS[0])
        assert addresses == ["HTTP here\n", "gRPC there\n"]
    assert process.returncode == -9
