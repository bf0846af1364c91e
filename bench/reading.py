"""A reader's process: it starts runs, follows them, and prints what came, how late, and what it cost.

`python -m bench.reading JOB`, where JOB is the JSON of `Job`, prints the JSON of `Reading`. The runtime holds
the frames back until all followers are connected. The clocks run from their release, and everything is
checked after they have stopped.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from bench.followers import Follower, Job, Readers, job_of
from bench.jobs import answer
from bench.loads import load
from bench.machine import cpu_seconds, resident_kib, tree_cpu_seconds
from bench.readers import CHECKS, arrivals

#: Seconds that followers have to catch up where one never reads.
PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Used:
    """What the target and PostgreSQL have used: seconds of CPU, and the target's memory."""

    cpu_s: float
    postgres_cpu_s: float
    mib: float

    @classmethod
    def of(cls, job: Job) -> Used:
        """So far."""
        postgres = tree_cpu_seconds(job.at.postgres_pid)
        pid = job.target.pid
        return cls(cpu_seconds(pid), postgres, resident_kib(pid) / 1024) if pid else cls(0, postgres, 0)

    def __sub__(self, other: Used) -> Used:
        return Used(
            self.cpu_s - other.cpu_s, self.postgres_cpu_s - other.postgres_cpu_s, self.mib - other.mib
        )


@dataclass(frozen=True, slots=True)
class Late:
    """How long frames took from the runtime to the follower, in ms; measured at a pace only."""

    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What came: `events` within `seconds`; and to the end `total_events` in `messages` of the transport.
    cut_off: followers that did not get everything in time, because another never reads."""

    events: int
    seconds: float
    used: Used
    late: Late
    messages: int
    total_events: int
    cut_off: int

    @property
    def cpu_us(self) -> float:
        """The target's CPU for an event."""
        return self.used.cpu_s / self.events * 1e6

    @property
    def postgres_us(self) -> float:
        """PostgreSQL's."""
        return self.used.postgres_cpu_s / self.events * 1e6

    @classmethod
    def of_json(cls, found: Mapping[str, Any]) -> Reading:
        """The reading that a reader's process printed."""
        return cls(**{**found, "used": Used(**found["used"]), "late": Late(**found["late"])})


async def read_all(job: Job) -> Reading:
    """Do the job. Raises Incomplete."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        readers = Readers(job, http)
        await readers.open()
        gc.disable()
        used = Used.of(job)
        began: int = (await readers.control("release", frames_per_s=job.frames_per_s))["released_at"]
        everyone = [each for some in readers.followers for each in some]
        ending = asyncio.gather(*(each.ended() for each in everyone))
        end_ns = 0
        if job.frames_per_s:
            # Up to the last frame but one: the end of a run does not belong to its pace.
            shortest = min(len(load(name).frames) for name in job.loads)
            end_ns = began + int((shortest - 1) / job.frames_per_s * 1e9)
            await asyncio.sleep((end_ns - time.monotonic_ns()) / 1e9)
        else:
            await ending
        used = Used.of(job) - used
        with suppress(TimeoutError):
            await asyncio.wait_for(ending, PATIENCE_S if job.stuck else None)
        gc.enable()
        taken = Taken()
        for run, thread in enumerate(readers.threads):
            sent = await readers.sent(thread) if job.frames_per_s else []
            for each in readers.followers[run]:
                taken.add(job, readers.load_of(run), each, sent)
        await readers.close()
    last_ns = end_ns or max(taken.times)
    within = sum(at <= last_ns for at in taken.times)
    return Reading(within, (last_ns - began) / 1e9, used, taken.late_ms(), *taken.counts())


@dataclass
class Taken:
    """What followers got, checked. Times in nanoseconds."""

    times: list[int] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    messages: int = 0
    events: int = 0
    cut_off: int = 0

    def add(self, job: Job, name: str, follower: Follower, sent: Sequence[int]) -> None:
        """What a follower of a load got, whose frames left at those times. Raises Incomplete."""
        frames = load(name).frames
        form = job.target.form
        messages = follower.arrived()
        came = arrivals(form, messages)
        if job.stuck and not follower.has_ended:
            self.cut_off += 1
            # What has not come is at least so late.
            came += [time.monotonic_ns()] * (len(frames) - len(came))
        else:
            self.events += CHECKS[form]([each.message for each in messages], frames)
        self.messages += len(messages)
        self.times += came
        # Each frame is an event, and the hub's own event before them says that the run began. The last one
        # waits for the run's end.
        if sent:
            own = len(came) - len(frames)
            self.late += [at - left for at, left in zip(came[own:-1], sent[:-1], strict=True)]

    def late_ms(self) -> Late:
        """How late frames came."""
        if len(self.late) < 2:
            return Late()
        cuts = statistics.quantiles(self.late, n=100)
        return Late(cuts[49] / 1e6, cuts[98] / 1e6, max(self.late) / 1e6)

    def counts(self) -> tuple[int, int, int]:
        """Messages, events, and followers that were cut off."""
        return self.messages, self.events, self.cut_off


if __name__ == "__main__":
    sys.exit(answer(read_all(job_of(sys.argv[1]))))
