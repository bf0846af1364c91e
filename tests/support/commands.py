"""Commands of `ideo` one after the other, without the time that an interpreter takes to start and import."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile

from tests.support.forks import ROOT, fork
from tests.support.processes import clean_environment

#: A command: its arguments and settings give its exit code, its output and its messages.
Ideo = Callable[..., Awaitable[tuple[int, str, str]]]
#: Seconds that a command has to end.
_END_S = 120.0


class Commands:
    """Runs commands with an environment."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    async def ideo(self, *arguments: str, cwd: Path = ROOT, **environment: str) -> tuple[int, str, str]:
        """A command's exit code, its output and its messages."""
        return await _run(arguments, {**self._environment, **environment}, cwd)


async def ideo(line: str, *, environment: Mapping[str, str], cwd: Path = ROOT) -> tuple[int, str, str]:
    """As `in_shell("ideo LINE", …)`, for lines that need nothing of a shell but its words."""
    return await _run(shlex.split(line), environment, cwd)


async def _run(arguments: Sequence[str], environment: Mapping[str, str], cwd: Path) -> tuple[int, str, str]:
    with TemporaryFile() as output, TemporaryFile() as messages:
        process = await fork(
            *arguments,
            environment=clean_environment(environment),
            errors=messages.fileno(),
            output=output.fileno(),
            cwd=cwd,
        )
        try:
            async with asyncio.timeout(_END_S):
                code = await process.wait()
        finally:
            process.kill()
        for written in (output, messages):
            written.seek(0)
        return code, output.read().decode(), messages.read().decode()
