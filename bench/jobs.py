"""Jobs in processes of their own: how one is started, and how it answers."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import Coroutine
from typing import Any

import grpc.aio
import httpx
import uvloop

from bench.figures import NoFigure
from bench.machine import on_other_cores, on_target_core
from bench.readers import Incomplete
from tests.support.processes import ROOT, clean_environment

READ_S = 300.0


async def start_module(
    module: str, job: object, *more: str, stdin: int | None = None, stderr: int | None = None
) -> asyncio.subprocess.Process:
    """A module in a process of its own, with a job as JSON; its output can be read. more: further arguments.
    stdin, stderr: as of `asyncio.create_subprocess_exec`."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", module, json.dumps(job), *more),
        cwd=ROOT,
        env=clean_environment({}),
        stdin=stdin,
        stdout=PIPE,
        stderr=stderr,
    )


async def run_module(
    module: str, job: object, name: str, *more: str, measured: bool = False
) -> dict[str, Any]:
    """What a module prints for a job, both JSON, in a process of its own. more: further arguments.
    measured: it is not a reader, but what is measured. Raises NoFigure, with the name."""
    with on_target_core() if measured else on_other_cores():
        process = await start_module(module, job, *more, stderr=PIPE)
    try:
        async with asyncio.timeout(READ_S):
            out, wrong = await process.communicate()
    except TimeoutError:
        raise NoFigure(f"{name}: not read within {READ_S:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise NoFigure(f"{name}: {wrong.decode().strip()[-400:]}")
    result: dict[str, Any] = json.loads(out)
    return result


def answer(work: Coroutine[Any, Any, Any]) -> int:
    """In that process: print what the work gives, a dataclass, as JSON; 1 and the reason when it is void."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            result = runner.run(work)
    except (Incomplete, httpx.HTTPError, grpc.aio.AioRpcError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(dataclasses.asdict(result)))
    return 0
