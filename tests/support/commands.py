"""Commands of `ideo` one after the other, without the time that an interpreter takes to start and import."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.processes import ROOT, clean_environment

#: Runs each command that it reads in a child of its own, and tells the exit code.
_FORKING = """
import importlib, json, os, sys
import httpx, rich.console, uvloop, websockets.asyncio.client
import server.cli.accept, server.cli.diff, server.cli.download, server.cli.draft, server.cli.review
import server.cli.terminal, server.cli.user, server.cli.watch
from server.cli.main import main

for module in sys.argv[1:]:
    importlib.import_module(module)
for line in sys.stdin:
    command = json.loads(line)
    child = os.fork()
    if child == 0:
        for number, name, flags in (
            (0, os.devnull, os.O_RDONLY),
            (1, command["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
            (2, command["messages"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        ):
            os.dup2(os.open(name, flags, 0o600), number)
        os.environ.clear()
        os.environ.update(command["environment"])
        os.chdir(command["cwd"])
        sys.argv = ["ideo", *command["arguments"]]
        main()
    status = os.waitpid(child, 0)[1]
    print(os.waitstatus_to_exitcode(status), flush=True)
"""
#: A command: its arguments and settings give its exit code, its output and its messages.
Ideo = Callable[..., Awaitable[tuple[int, str, str]]]
#: Seconds that a command has to end.
_END_S = 60.0


class Commands:
    """Runs commands with an environment."""

    def __init__(
        self, process: asyncio.subprocess.Process, folder: Path, environment: Mapping[str, str]
    ) -> None:
        self._process, self._folder, self._environment = process, folder, environment

    async def ideo(self, *arguments: str, cwd: Path = ROOT, **environment: str) -> tuple[int, str, str]:
        """A command's exit code, its output and its messages."""
        output, messages = self._folder / "output", self._folder / "messages"
        command = {
            "arguments": arguments,
            "environment": clean_environment({**self._environment, **environment}),
            "cwd": str(cwd),
            "output": str(output),
            "messages": str(messages),
        }
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(command).encode() + b"\n")
        async with asyncio.timeout(_END_S):
            code = int(await stdout.readline())
        return code, output.read_bytes().decode(), messages.read_bytes().decode()


@asynccontextmanager
async def commands(folder: Path, environment: Mapping[str, str], *modules: str) -> AsyncIterator[Commands]:
    """Commands with these settings. folder: for their output. modules: of the commands, if they are not those
    of most tests."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _FORKING, *modules),
        cwd=ROOT,
        env=clean_environment({}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Commands(process, folder, environment)
    finally:
        process.kill()
        await process.wait()
