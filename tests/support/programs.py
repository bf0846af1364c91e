"""Programs of other languages: found, or said to be missing, and run."""

from __future__ import annotations

import asyncio
import os
import shutil
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.tools import need

ROOT = Path(__file__).resolve().parents[2]


def installed(*names: str) -> str:
    """The path of the first program that is installed. Skips the test if none is; in CI, fails it."""
    found = next(filter(None, map(shutil.which, names)), None)
    need(found, f"install {' or '.join(names)}")
    assert found is not None
    return found


@asynccontextmanager
async def started(
    *command: str, environment: Mapping[str, str], folder: Path | None = None, output: int = PIPE
) -> AsyncIterator[Process]:
    """A running program, whose errors are in its output; killed afterwards. `environment` is added to this
    process's."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env={**os.environ, **environment}, stdin=DEVNULL, stdout=output, stderr=STDOUT
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def output_of(
    *command: str, folder: Path | None = None, within_s: float = 200, **environment: str
) -> str:
    """The output of a program that succeeds."""
    running = started(*command, environment=environment, folder=folder)
    async with running as process, asyncio.timeout(within_s):
        output = (await process.communicate())[0].decode()
    assert process.returncode == 0, f"exit status {process.returncode}; its output: {output}"
    return output
