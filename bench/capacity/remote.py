"""Runs that one replica drives and others follow. `python -m bench.capacity.remote JOB` prints what it cost.

The runs are started at the driver; each of the other replicas has a follower of each run. The clocks are those
of `bench.reading` at a pace.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from bench.capture import Capture, follow
from bench.followers import Addresses, Job, Readers, Target
from bench.jobs import answer
from bench.loads import load
from bench.machine import cpu_seconds, tree_cpu_seconds
from bench.readers import CHECKS, arrivals


@dataclass(frozen=True, slots=True)
class Remote:
    """The driver, the other replicas, and the carrier's process, 0 if it is PostgreSQL."""

    at: Addresses
    driver: Target
    others: Sequence[Target]
    carrier_pid: int
    load: str
    runs: int
    frames_per_s: float


@dataclass(frozen=True, slots=True)
class Cost:
    """µs of CPU an event: of the driver, of each other replica, of PostgreSQL and of the carrier; and how late
    events came to the followers, in ms."""

    driver_us: float
    other_us: float
    postgres_us: float
    carrier_us: float
    p50_ms: float
    p99_ms: float


async def follow_remotely(job: Remote) -> Cost:
    """Do the job. Raises Incomplete."""
    frames = load(job.load).frames
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        readers = Readers(Job(job.driver, job.at, [job.load], job.runs, 0), http)
        await readers.open()
        captures = [await _follow(job, each, thread) for each in job.others for thread in readers.threads]
        gc.disable()
        before = _used(job)
        began: int = (await readers.control("release", frames_per_s=job.frames_per_s))["released_at"]
        end_ns = began + int((len(frames) - 1) / job.frames_per_s * 1e9)
        await asyncio.sleep((end_ns - time.monotonic_ns()) / 1e9)
        used = [after - first for first, after in zip(before, _used(job), strict=True)]
        await asyncio.gather(*(each.ended for each in captures))
        gc.enable()
        sent = {thread: await readers.sent(thread) for thread in readers.threads}
        await readers.close()
    late: list[int] = []
    threads = [thread for _ in job.others for thread in readers.threads]
    for thread, capture in zip(threads, captures, strict=True):
        messages = capture.arrived()
        CHECKS["proto"]([each.message for each in messages], frames)
        came = arrivals("proto", messages)
        own = len(came) - len(frames)
        late += [at - left for at, left in zip(came[own:-1], sent[thread][:-1], strict=True)]
        capture.transport.abort()
    events = job.runs * (len(frames) - 1)
    driver, postgres, carrier, *others = (seconds / events * 1e6 for seconds in used)
    cuts = statistics.quantiles(late, n=100) if late else [0.0] * 99
    other = statistics.mean(others) if others else 0.0
    return Cost(driver, other, postgres, carrier, cuts[49] / 1e6, cuts[98] / 1e6)


async def _follow(job: Remote, target: Target, thread: str) -> Capture:
    url = target.address + target.path.format(thread=thread)
    return await follow(url, job.at.token, target.subprotocol)


def _used(job: Remote) -> list[float]:
    """Seconds of CPU so far: driver, PostgreSQL, carrier, the others."""
    carrier = cpu_seconds(job.carrier_pid) if job.carrier_pid else 0.0
    others = [cpu_seconds(each.pid) for each in job.others]
    return [cpu_seconds(job.driver.pid), tree_cpu_seconds(job.at.postgres_pid), carrier, *others]


def job_of(text: str) -> Remote:
    """The job that its JSON describes."""
    given = json.loads(text)
    others = [Target(**each) for each in given["others"]]
    parts = {"at": Addresses(**given["at"]), "driver": Target(**given["driver"]), "others": others}
    return Remote(**{**given, **parts})


if __name__ == "__main__":
    sys.exit(answer(follow_remotely(job_of(sys.argv[1]))))
