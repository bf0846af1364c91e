"""Events over grpc.aio as most would send them, one in each message.

`python -m bench.peers.grpc_aio.server FILE` reads the events of a run from the file, serves them on a free
port to all who watch, and prints its address.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import uvloop

from bench.prepared import read_events
from ide_orchestrator.v1 import refinement_pb2
from ide_orchestrator.v1.refinement_pb2_grpc import (
    RefinementServiceServicer,
    add_RefinementServiceServicer_to_server,
)


class Servicer(RefinementServiceServicer):
    """One run's events for everybody."""

    def __init__(self, path: Path) -> None:
        self._events = read_events(path)

    async def WatchRefinement(
        self, request: refinement_pb2.WatchRefinementRequest, context: Any
    ) -> AsyncIterator[refinement_pb2.WatchRefinementResponse]:
        """All of them."""
        for event in self._events:
            yield refinement_pb2.WatchRefinementResponse(batch=refinement_pb2.EventBatch(events=[event]))

    async def GetRefinement(
        self, request: refinement_pb2.GetRefinementRequest, context: Any
    ) -> refinement_pb2.GetRefinementResponse:
        """A refinement, without a look at a database."""
        return refinement_pb2.GetRefinementResponse(
            refinement=refinement_pb2.Refinement(thread_id=request.thread_id)
        )


async def serve(path: Path) -> None:
    """Serve until the process is killed."""
    server = grpc.aio.server()
    add_RefinementServiceServicer_to_server(Servicer(path), server)  # type: ignore[abstract] # the rest is not called
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"peer 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(Path(sys.argv[1])))
