"""A reader's process: it starts runs, follows them, and prints what came, how late, and what it cost.

`python -m bench.reading JOB`, where JOB is the JSON of `Job`, prints the JSON of `Reading`. The runtime holds
the frames back until all followers are connected. The clocks run from their release, and everything is
checked after they have stopped.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import grpc.aio
import httpx
import uvloop

from bench.capture import Arrived, Capture, follow
from bench.loads import load
from bench.machine import cpu_seconds, tree_cpu_seconds
from bench.readers import CHECKS, Incomplete, arrivals
from tests.support.client import grpc_messages
from tests.support.tokens import bearer

#: Connections that are opened at a time; more would be refused by a short queue of the kernel.
_AT_ONCE = 50
_CHANNEL = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))


@dataclass(frozen=True, slots=True)
class Target:
    """A way from the runtime to a follower. `form`: see `bench.readers`. `address` is `http://HOST:PORT`, or
    `HOST:PORT` for gRPC, which has no path. `pid` is the process that is measured; 0 for none."""

    name: str
    form: str
    address: str
    path: str
    pid: int
    subprotocol: str | None = None
    through_hub: bool = False


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the runtime and the hub are, a token of a user with a workflow, and PostgreSQL's process."""

    runtime: str
    hub: str
    token: str
    workflow_id: str
    postgres_pid: int


@dataclass(frozen=True, slots=True)
class Job:
    """What to read: the runs, each of one of `loads` in turn, with `followers` each. frames_per_s None: at
    full speed."""

    target: Target
    at: Addresses
    loads: Sequence[str]
    runs: int = 1
    followers: int = 1
    frames_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What came: `events` within `seconds`, and `total_events` in `messages` of the transport. CPU in
    seconds. p50_ms, p99_ms: from a frame's leaving the runtime to its arrival; at a pace only."""

    events: int
    messages: int
    total_events: int
    seconds: float
    cpu_s: float
    postgres_cpu_s: float
    p50_ms: float = 0.0
    p99_ms: float = 0.0


@dataclass
class Follower:
    """One that reads a thread to its end, over either transport."""

    capture: Capture | None = None
    messages: list[Arrived] = field(default_factory=list)
    reading: asyncio.Task[None] | None = None

    async def ended(self) -> None:
        """Wait for the end."""
        if self.capture is not None:
            await self.capture.ended
        elif self.reading is not None:
            await self.reading

    def arrived(self) -> list[Arrived]:
        """All of it."""
        return self.messages if self.capture is None else self.capture.arrived()


class Readers:
    """The runs of a job and those who follow them."""

    def __init__(self, job: Job, http: httpx.AsyncClient) -> None:
        self._job, self._http = job, http
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._control = job.at.runtime.rpartition("/")[0]
        self._channels: list[grpc.aio.Channel] = []
        self.threads: list[str] = []
        self.followers: list[list[Follower]] = []

    def load_of(self, run: int) -> str:
        """The load of a run."""
        return self._job.loads[run % len(self._job.loads)]

    async def open(self) -> None:
        """Start the runs and connect their followers; no frame has left then."""
        job = self._job
        for run in range(job.runs):
            self.threads.append(await self._start(self.load_of(run)))
            self.followers.append(
                await asyncio.gather(*(self._follow(self.threads[-1]) for _ in range(job.followers)))
            )
        alone = job.target.path.startswith("/stream/")
        await self.control("connected", streams=job.followers if alone else 1)

    async def control(self, what: str, **more: Any) -> Any:
        """Tell the runtime something about the threads."""
        answer = await self._http.post(
            f"{self._control}/bench/{what}", json={"threads": self.threads, **more}
        )
        return answer.raise_for_status().json()

    async def sent(self, thread: str) -> list[int]:
        """When each frame of a thread left."""
        times: list[int] = (await self._http.get(f"{self._control}/bench/sent/{thread}")).json()
        return times

    async def close(self) -> None:
        """Drop everything."""
        await self.control("forget")
        for follower in (each for some in self.followers for each in some):
            if follower.capture is not None:
                follower.capture.transport.abort()
        for channel in self._channels:
            await channel.close()

    async def _start(self, name: str) -> str:
        job = self._job
        prompt = f"Measure. [[replay:{name}]]"
        if job.target.through_hub:
            answer = await self._http.post(
                f"{job.at.hub}/api/workflows/{job.at.workflow_id}/refinements",
                json={"user_prompt": prompt},
                headers=bearer(job.at.token),
            )
        else:
            fields = {"trace_id": str(uuid4()), "job_id": str(uuid4()), "input_payload": {"messages": []}}
            answer = await self._http.post(
                f"{job.at.runtime}/invoke", json={**fields, "agent_definition": {"user_request": prompt}}
            )
        return str(answer.raise_for_status().json()["thread_id"])

    async def _follow(self, thread: str) -> Follower:
        target, token = self._job.target, self._job.at.token
        async with self._places:
            if target.path:
                url = target.address + target.path.format(thread=thread)
                return Follower(await follow(url, token if target.through_hub else "", target.subprotocol))
            channel = grpc.aio.insecure_channel(target.address, options=_CHANNEL)
            self._channels.append(channel)
            await channel.channel_ready()
            follower = Follower()
            hello = asyncio.Event()
            follower.reading = asyncio.create_task(_read_grpc(channel, token, thread, follower, hello))
            await hello.wait()
            return follower


async def _read_grpc(
    channel: grpc.aio.Channel, token: str, thread: str, follower: Follower, hello: asyncio.Event
) -> None:
    async for message in grpc_messages(channel, token, thread):
        follower.messages.append(Arrived(message, time.monotonic_ns()))
        hello.set()


async def read_all(job: Job) -> Reading:
    """Do the job. Raises Incomplete."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        readers = Readers(job, http)
        await readers.open()
        gc.disable()
        own, postgres = _cpu(job)
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
        own_after, postgres_after = _cpu(job)
        await ending
        gc.enable()
        taken = Taken([], [], 0, 0)
        for run, thread in enumerate(readers.threads):
            sent = await readers.sent(thread) if job.frames_per_s else []
            for each in readers.followers[run]:
                taken.add(job, readers.load_of(run), each.arrived(), sent)
        await readers.close()
    last_ns = end_ns or max(taken.times)
    return Reading(
        sum(at <= last_ns for at in taken.times),
        taken.messages,
        taken.events,
        (last_ns - began) / 1e9,
        own_after - own,
        postgres_after - postgres,
        *taken.quantiles(),
    )


def _cpu(job: Job) -> tuple[float, float]:
    return cpu_seconds(job.target.pid) if job.target.pid else 0.0, tree_cpu_seconds(job.at.postgres_pid)


@dataclass
class Taken:
    """What followers got, checked. Times in nanoseconds."""

    times: list[int]
    late: list[int]
    messages: int
    events: int

    def add(self, job: Job, name: str, messages: Sequence[Arrived], sent: Sequence[int]) -> None:
        """A follower's messages. Raises Incomplete."""
        frames = load(name).frames
        form = job.target.form
        self.events += CHECKS[form]([each.message for each in messages], frames)
        self.messages += len(messages)
        came = arrivals(form, messages)
        self.times += came
        # Each frame is an event, and the hub's own event before them says that the run began. The last one
        # waits for the run's end.
        if sent:
            own = len(came) - len(frames)
            self.late += [at - left for at, left in zip(came[own:-1], sent[:-1], strict=True)]

    def quantiles(self) -> tuple[float, float]:
        """The median and the 99th hundredth of how late frames came, in ms."""
        if len(self.late) < 2:
            return 0.0, 0.0
        cuts = statistics.quantiles(self.late, n=100)
        return cuts[49] / 1e6, cuts[98] / 1e6


def job_of(text: str) -> Job:
    """The job that its JSON describes."""
    given = json.loads(text)
    return Job(**{**given, "target": Target(**given["target"]), "at": Addresses(**given["at"])})


def main(text: str) -> int:
    """Print the reading; 1 and the reason when it is void."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, suppress(asyncio.CancelledError):
            reading = runner.run(read_all(job_of(text)))
    except (Incomplete, httpx.HTTPError, grpc.aio.AioRpcError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(dataclasses.asdict(reading)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
