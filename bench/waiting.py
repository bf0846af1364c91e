"""Followers that wait. `python -m bench.waiting JOB` starts runs, connects their followers, prints `waiting`,
and holds them until its input ends. No frame leaves the runtime.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import resource
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator

import httpx
import uvloop

from bench.followers import Job, Readers, job_of
from bench.jobs import start_module
from bench.machine import on_other_cores


@contextlib.asynccontextmanager
async def waiting(job: Job) -> AsyncIterator[None]:
    """Have a process of its own hold them."""
    with on_other_cores():
        process = await start_module("bench.waiting", dataclasses.asdict(job), stdin=PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if await process.stdout.readline() != b"waiting\n":
            raise OSError(f"{job.target.name}: followers were not connected")
        yield
    finally:
        process.stdin.close()
        await process.wait()


async def _hold(job: Job) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        readers = Readers(job, http)
        await readers.open()
        print("waiting", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await readers.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_hold(job_of(sys.argv[1])))
