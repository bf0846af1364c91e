"""`catchup`: readers of runs that have ended: the last 100 events of a short and a long one, and all of it.

`python -m bench.catchup JOB` prints what one process of readers needed, as JSON.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from google.protobuf.json_format import MessageToDict

from bench.capture import follow
from bench.environment import Environment, by_name, in_turn
from bench.figures import Stats, Table, ratios
from bench.followers import Target
from bench.jobs import answer, run_module
from bench.machine import cpu_seconds
from bench.peers.catalogue import DURABLE
from bench.prepared import prepare, read_events
from bench.readers import Incomplete, events_of

_LAST = 100
#: How often the last events are read, and everything.
_TIMES, _REPLAYS = 20, 3
_BATCH = 100
#: Reads after a seq: the first event's time and the last one's, in seconds from the beginning, and the seqs.
Read = Callable[[int], Awaitable[tuple[float, float, list[int]]]]


@dataclass(frozen=True, slots=True)
class Job:
    """A thread of so many events, read from a target, or from the stream that is made of the file."""

    target: Target
    token: str
    thread: str
    events: int
    file: str


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """last_ms: the median time to the first of the last events. The rest is about reading everything."""

    last_ms: float
    events_per_s: float
    cpu_us: float


async def measure_catchup(environment: Environment, *, quick: bool) -> list[Table]:
    """A row for each server. Raises NoFigure."""
    short, long = (200, 1000) if quick else (1000, 100_000)
    runs = [await prepare(environment, f"tokens-{count}") for count in (short, long)]
    targets = [environment.hub_socket("proto"), environment.hub_socket("json")]
    if peer := await environment.start_peer(DURABLE, ""):
        targets.append(Target(DURABLE.name, "durable", peer[0], "", peer[1]))

    async def take(target: Target) -> list[CaughtUp]:
        token = environment.addresses.token
        jobs = [Job(target, token, run.thread, run.events, str(run.file)) for run in runs]
        return [
            CaughtUp(**await run_module("bench.catchup", dataclasses.asdict(job), target.name))
            for job in jobs
        ]

    taken = await in_turn(targets, 1 if quick else 4, take, warm_up=False)
    rate = by_name(targets, taken, lambda both: both[1].events_per_s)
    rows = [
        [
            target.name,
            *(Stats.of([both[which].last_ms for both in some]) for which in (0, 1)),
            Stats.of([both[1].last_ms / both[0].last_ms for both in some]),
            Stats.of(rate[target.name]),
            ratios(rate, target.name, DURABLE.name),
            Stats.of([both[1].cpu_us for both in some]),
        ]
        for target, some in zip(targets, taken, strict=True)
    ]
    heads = ["", *(f"last {_LAST} of {count:,}: first ms" for count in (short, long)), "ratio"]
    heads += [f"all {long:,}: events/s", f"÷ {DURABLE.name}", "CPU µs an event"]
    return [Table("Readers of runs that have ended", heads, rows)]


def _hub(job: Job) -> Read:
    async def read(after: int) -> tuple[float, float, list[int]]:
        began = time.monotonic_ns()
        path = job.target.path.format(thread=job.thread)
        url = f"{job.target.address}{path}?after={after}"
        capture = await follow(url, job.token, job.target.subprotocol)
        await capture.ended
        capture.transport.abort()
        came = [(each.at_ns, events_of(job.target.form, each.message)) for each in capture.arrived()]
        times = [at for at, events in came if events]
        seqs = [seq for _, events in came for seq, _ in events]
        return (times[0] - began) / 1e9, (times[-1] - began) / 1e9, seqs

    return read


async def _durable(job: Job) -> Read:
    """A new stream with the run's events as JSON."""
    url = f"{job.target.address}/{job.thread}-{time.monotonic_ns()}"
    at = urlsplit(url)
    events = [MessageToDict(event, preserving_proto_field_name=True) for event in read_events(Path(job.file))]
    offsets = {0: "-1"}
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        (await http.put(url, headers={"content-type": "application/json"})).raise_for_status()
        place = 0
        for end in [*range(job.events % _BATCH or _BATCH, job.events, _BATCH), job.events]:
            answer = (await http.post(url, json=events[place:end])).raise_for_status()
            offsets[end], place = answer.headers["stream-next-offset"], end

    async def read(after: int) -> tuple[float, float, list[int]]:
        began = time.monotonic_ns()
        reader, writer = await asyncio.open_connection(at.hostname, at.port)
        query = f"{at.path}?offset={offsets[after]}"
        writer.write(f"GET {query} HTTP/1.0\r\nHost: {at.netloc}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        first = await reader.read(1 << 20)
        first_s = (time.monotonic_ns() - began) / 1e9
        body = first + await reader.read()
        last_s = (time.monotonic_ns() - began) / 1e9
        writer.close()
        if b"chunked" in head or b"\r\nstream-up-to-date: true" not in head:
            raise Incomplete("the answer is not whole")
        return first_s, last_s, [event["seq"] for event in json.loads(body)]

    return read


async def _catch_up(job: Job) -> CaughtUp:
    """Raises Incomplete."""
    read = await _durable(job) if job.target.form == "durable" else _hub(job)

    async def checked(after: int) -> tuple[float, float]:
        first_s, last_s, seqs = await read(after)
        if seqs != list(range(after + 1, job.events + 1)):
            raise Incomplete(f"the events are not {after + 1} to {job.events}, each once and in order")
        return first_s, last_s

    firsts = sorted([(await checked(job.events - _LAST))[0] for _ in range(_TIMES)])
    cpu = cpu_seconds(job.target.pid)
    lasts = sorted([(await checked(0))[1] for _ in range(_REPLAYS)])
    cpu_us = (cpu_seconds(job.target.pid) - cpu) / _REPLAYS / job.events * 1e6
    return CaughtUp(1000 * firsts[_TIMES // 2], job.events / lasts[_REPLAYS // 2], cpu_us)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    sys.exit(answer(_catch_up(Job(**{**given, "target": Target(**given["target"])}))))
