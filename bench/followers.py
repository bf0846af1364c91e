"""The runs of a job and those who follow them, over WebSocket and gRPC."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import grpc.aio
import httpx

from bench.capture import Arrived, Capture, follow
from tests.support.client import grpc_messages
from tests.support.tokens import bearer

#: Connections that are opened at a time; more would be refused by a short queue of the kernel.
_AT_ONCE = 50
#: Runs that are started at a time: each needs a connection of the hub's to the database.
_STARTS = 5
CHANNEL = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))


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
    full speed. stuck: how many of a run's followers never read."""

    target: Target
    at: Addresses
    loads: Sequence[str]
    runs: int = 1
    followers: int = 1
    frames_per_s: float | None = None
    stuck: int = 0


def job_of(text: str) -> Job:
    """The job that its JSON describes."""
    given = json.loads(text)
    return Job(**{**given, "target": Target(**given["target"]), "at": Addresses(**given["at"])})


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

    @property
    def has_ended(self) -> bool:
        """Whether it got to the end."""
        ended = self.reading if self.capture is None else self.capture.ended
        return ended is not None and ended.done() and not ended.cancelled()

    def arrived(self) -> list[Arrived]:
        """What it has got."""
        return self.messages if self.capture is None else self.capture.arrived()


class Readers:
    """The runs of a job and those who follow them."""

    def __init__(self, job: Job, http: httpx.AsyncClient) -> None:
        self._job, self._http = job, http
        self._places, self._starts = asyncio.Semaphore(_AT_ONCE), asyncio.Semaphore(_STARTS)
        self._control = job.at.runtime.rpartition("/")[0]
        self._channels: list[grpc.aio.Channel] = []
        self._captures: list[Capture] = []
        self.threads: list[str] = []
        #: Those that read, by run.
        self.followers: list[list[Follower]] = []

    def load_of(self, run: int) -> str:
        """The load of a run."""
        return self._job.loads[run % len(self._job.loads)]

    async def open(self) -> None:
        """Start the runs and connect their followers; no frame has left then."""
        job = self._job
        self.threads += await asyncio.gather(*(self._start(self.load_of(run)) for run in range(job.runs)))
        self.followers += await asyncio.gather(*map(self._follow_all, self.threads))
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
        for capture in self._captures:
            capture.transport.abort()
        for channel in self._channels:
            await channel.close()

    async def _start(self, name: str) -> str:
        async with self._starts:
            return await self._started(name)

    async def _started(self, name: str) -> str:
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

    async def _follow_all(self, thread: str) -> list[Follower]:
        found = await asyncio.gather(*(self._follow(thread) for _ in range(self._job.followers)))
        for follower in found[: self._job.stuck]:
            assert follower.capture is not None
            follower.capture.transport.pause_reading()
        return found[self._job.stuck :]

    async def _follow(self, thread: str) -> Follower:
        target, token = self._job.target, self._job.at.token
        async with self._places:
            if target.path:
                url = target.address + target.path.format(thread=thread)
                capture = await follow(url, token if target.through_hub else "", target.subprotocol)
                self._captures.append(capture)
                return Follower(capture)
            channel = grpc.aio.insecure_channel(target.address, options=CHANNEL)
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
