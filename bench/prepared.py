"""A run that has ended, for readers that come later, and its events in a file for peers.

`python -m bench.prepared JOB FILE` makes them and prints the thread as JSON. The file has a
WatchRefinementResponse for each event, each after its length.
"""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvloop
from google.protobuf.proto import parse_length_prefixed, serialize_length_prefixed

from bench.environment import Environment
from bench.followers import Job, Readers, job_of
from bench.jobs import run_module
from ide_orchestrator.v1.event_pb2 import Event
from ide_orchestrator.v1.refinement_pb2 import EventBatch, WatchRefinementResponse


@dataclass(frozen=True, slots=True)
class Prepared:
    """The run's thread, how many events it has, and the file."""

    thread: str
    events: int
    file: Path


async def prepare(environment: Environment, load: str) -> Prepared:
    """Have a run of a load. Raises NoFigure."""
    job = Job(environment.hub_socket("proto"), environment.addresses, [load])
    file = environment.folder / f"{load}.events"
    found = await run_module("bench.prepared", dataclasses.asdict(job), load, str(file))
    return Prepared(found["thread"], found["events"], file)


def read_events(file: Path) -> Sequence[Event]:
    """The events of a file."""
    return list(_read(file))


def _read(file: Path) -> Iterator[Event]:
    with io.BytesIO(file.read_bytes()) as source:
        while (message := parse_length_prefixed(WatchRefinementResponse, source)) is not None:
            yield message.batch.events[0]


async def _run(job: Job) -> tuple[str, list[Event]]:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        readers = Readers(job, http)
        await readers.open()
        await readers.control("release", frames_per_s=None)
        follower = readers.followers[0][0]
        await follower.ended()
        messages = [WatchRefinementResponse.FromString(each.message) for each in follower.arrived()]
        await readers.close()
    return readers.threads[0], [event for message in messages for event in message.batch.events]


def main(job: str, file: str) -> None:
    """Make the run and the file."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        thread, events = runner.run(_run(job_of(job)))
    target = io.BytesIO()
    for event in events:
        serialize_length_prefixed(WatchRefinementResponse(batch=EventBatch(events=[event])), target)
    Path(file).write_bytes(target.getvalue())
    print(json.dumps({"thread": thread, "events": len(events)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
