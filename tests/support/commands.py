"""Commands of `ideo` one after the other, without the time that an interpreter takes to start and import."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.forks import ROOT, fork
from tests.support.processes import clean_environment

#: A command: its arguments and settings give its exit code, its output and its messages.
Ideo = Callable[..., Awaitable[tuple[int, str, str]]]
#: Seconds that a command has to end.
_END_S = 60.0


class Commands:
    """Runs commands with an environment."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder, self._environment = folder, environment

    async def ideo(self, *arguments: str, cwd: Path = ROOT, **environment: str) -> tuple[int, str, str]:
        """A command's exit code, its output and its messages."""
        output, messages = self._folder / "output", self._folder / "messages"
        with output.open("wb") as out, messages.open("wb") as err:
            process = await fork(
                *arguments,
                environment=clean_environment({**self._environment, **environment}),
                errors=err.fileno(),
                output=out.fileno(),
                cwd=cwd,
            )
        try:
            async with asyncio.timeout(_END_S):
                code = await process.wait()
        finally:
            process.kill()
        return code, output.read_bytes().decode(), messages.read_bytes().decode()


@asynccontextmanager
async def commands(folder: Path, environment: Mapping[str, str]) -> AsyncIterator[Commands]:
    """Commands with these settings. folder: for their output."""
    yield Commands(folder, environment)
