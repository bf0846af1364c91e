"""A flood that ends while the process has no file descriptors left: for `test_grpc_flood_gate`."""

from __future__ import annotations

import os
import resource

from server.grpc.flood_gate import FLOOD, QUIET_S
from tests.contract.interfaces.test_grpc_flood_gate import MUCH, Port, at_a_port, wakes_at
from tests.support.hand_clock import turns, until


async def run(port: Port) -> None:
    """Raises AssertionError when something is held that must not be, or is read that must not be."""
    await port.flood()
    port.connect(MUCH)
    waits = port.connect(MUCH)
    await port.searched()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))

    def has_ended() -> bool:
        # Again and again: a search that had begun before may still have found what waits.
        port.clock.move(QUIET_S + FLOOD.burst / FLOOD.per_s)
        return wakes_at(port.listening) == 1

    try:
        await until(has_ended)
        await turns(20)
        assert port.gate.is_shut
        assert waits not in port.read
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    await until(lambda: not port.gate.is_shut)
    await until(lambda: waits in port.read)


if __name__ == "__main__":
    at_a_port(run)
