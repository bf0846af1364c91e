"""A reader's process: starts runs, follows them, and prints what came and how long it took, as JSON.

`python -m bench.reading JOB`, where JOB is the JSON of `Job`. Time runs from the first start to the end
of the last stream; streams are validated afterwards.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import grpc.aio
import httpx
import uvloop

from bench.readers import TARGETS, Addresses, Incomplete, Message, Session
from server.replay.recording import read_recordings


@dataclass(frozen=True, slots=True)
class Job:
    """What to read: `runs` runs of a directive's recording, `at_once` of them at a time, each with
    `readers` followers."""

    target: str
    directive: str
    runs: int
    at_once: int
    readers: int
    addresses: Addresses


@dataclass(frozen=True, slots=True)
class Reading:
    """What came. `seconds` is the wall's; `messages` are the transport's, each of one or more events."""

    events: int
    messages: int
    message_bytes: int
    seconds: float


async def read_all(job: Job) -> Reading:
    """Do the job. Raises Incomplete."""
    target = TARGETS[job.target]
    turns = asyncio.Semaphore(job.at_once)
    options = [("grpc.max_receive_message_length", -1)]
    async with (
        httpx.AsyncClient(trust_env=False, timeout=60) as http,
        grpc.aio.insecure_channel(job.addresses.grpc, options=options) as channel,
    ):
        session = Session(job.addresses, http, channel)
        # Connections are made before the clock runs.
        await http.get(f"{job.addresses.http}/healthz")
        await channel.channel_ready()

        async def run() -> list[list[Message]]:
            async with turns:
                thread = await target.start(session, job.directive)
                return await asyncio.gather(*(target.read(session, thread) for _ in range(job.readers)))

        began = time.perf_counter()
        streams = [s for some in await asyncio.gather(*(run() for _ in range(job.runs))) for s in some]
        seconds = time.perf_counter() - began
    return validate(streams, job, seconds)


def validate(streams: Sequence[Sequence[Message]], job: Job, seconds: float) -> Reading:
    """The reading, if every stream is whole. Raises Incomplete."""
    frames = read_recordings()[job.directive.split()[0]].frames
    counts = [TARGETS[job.target].check(stream, frames) for stream in streams]
    if len(set(counts)) != 1:
        raise Incomplete(f"streams of the same run have {min(counts)} to {max(counts)} events")
    messages = [message for stream in streams for message in stream]
    size = sum(len(m) if isinstance(m, bytes) else len(m.encode()) for m in messages)
    return Reading(sum(counts), len(messages), size, seconds)


def main(text: str) -> int:
    """Print the reading; 1 and the reason when it is void."""
    given = json.loads(text)
    job = Job(**{**given, "addresses": Addresses(**given["addresses"])})
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            reading = runner.run(read_all(job))
    except (Incomplete, httpx.HTTPError, grpc.aio.AioRpcError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(dataclasses.asdict(reading)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
