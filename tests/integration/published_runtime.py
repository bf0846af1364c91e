"""A runtime that behaves as the published one does: its frames go to a channel and nowhere else.

What it publishes is not kept, `end` comes after success alone, and its state says `completed` without files
as soon as there is a checkpoint, whether the run goes on, failed or is over.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from tests.support.redis_server import RedisServer
from tests.support.runtime import Answer, Runtime

#: In a script: an exception in the run.
FAILS = "fails"
#: In a script: answer the POST only now; without it, it is answered at once.
ANSWER = "answer"


@dataclass
class PublishedRuntime(Runtime):
    """`steps`: what a run does: publish a frame, wait for an asyncio.Event (a tool that takes its time),
    ANSWER, or FAILS. `state_is`: `published` as above, or `honest`, or never heard of the run (`unknown`),
    or an answer to give always. `thread_id`: the id that it chooses for its thread, if not the job's.
    """

    redis: RedisServer
    steps: Sequence[dict[str, Any] | asyncio.Event | str]
    state_is: Literal["published", "honest", "unknown"] | dict[str, Any] = "published"
    thread_id: str = ""
    jobs: list[dict[str, Any]] = field(default_factory=list)
    #: Steps that are done.
    done: int = 0
    #: Questions about the state.
    asked: int = 0
    #: How many had subscribed to the channel when a POST came.
    subscribers: list[int] = field(default_factory=list)
    _checkpoint: bool = False
    _over: bool = False
    _runs: list[asyncio.Task[None]] = field(default_factory=list)

    async def close(self) -> None:
        """End the runs that are left."""
        for run in self._runs:
            run.cancel()
        await asyncio.gather(*self._runs, return_exceptions=True)

    async def state(self, thread_id: str) -> Answer:
        self.asked += 1
        if isinstance(self.state_is, dict):
            return 200, self.state_is
        if self.state_is == "unknown" or not self._checkpoint:
            return await super().state(thread_id)
        status = "running" if self.state_is == "honest" and not self._over else "completed"
        return 200, {"status": status, "generated_files": {}, "result": None, "error": None}

    async def invoke(self, job: dict[str, Any]) -> Answer:
        self.jobs.append(job)
        thread_id = self.thread_id or job["job_id"]
        channel = f"langgraph:stream:{thread_id}"
        async with self.redis.client() as client:
            self.subscribers.append((await client.pubsub_numsub(channel))[0][1])
        answered = asyncio.Event()
        if ANSWER not in self.steps:
            answered.set()
        self._runs.append(asyncio.create_task(self._run(channel, answered)))
        await answered.wait()
        return 200, {"thread_id": thread_id, "status": "started"}

    async def _run(self, channel: str, answered: asyncio.Event) -> None:
        self._checkpoint = True
        for step in self.steps:
            if isinstance(step, asyncio.Event):
                await step.wait()
            elif step == ANSWER:
                answered.set()
            elif step == FAILS:
                break
            else:
                await self._publish(channel, step)
            self.done += 1
        self._over = True

    async def _publish(self, channel: str, frame: Any) -> None:
        """Publish once. What cannot be published is lost, and the run goes on."""
        with suppress(RedisError, OSError):
            async with Redis.from_url(self.redis.url, retry=Retry(NoBackoff(), 0)) as client:
                await client.publish(channel, json.dumps(frame))
