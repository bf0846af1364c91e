"""Commands as a person starts them: in a terminal of their own, or in a shell."""

from __future__ import annotations

import asyncio
import codecs
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.processes import ROOT, clean_environment

CTRL_C = "\x03"
#: Seconds that a command has to show something, and to end.
SHOW_S = 120.0
#: Makes standard input the terminal of its own session, and becomes the command. Between fork and exec of a
#: process with threads, as the tests are, that could wait for ever.
LOG_IN = "import os, sys; os.login_tty(0); os.execvp(sys.argv[1], sys.argv[1:])"


def ideo_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment with only these settings, in which `ideo` is the command of this tree."""
    folder = str(Path(sys.executable).parent)
    return clean_environment({"PATH": f"{folder}:{os.environ['PATH']}", "TERM": "xterm", **environment})


class Terminal:
    """A command in a terminal. `text`: all that it showed so far."""

    def __init__(self, process: asyncio.subprocess.Process, primary: int) -> None:
        self._process, self._primary = process, primary
        self._changed = asyncio.Event()
        #: Set once nothing more comes.
        self._closed = asyncio.Event()
        #: A read may end in the middle of a character.
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self.text = ""
        asyncio.get_running_loop().add_reader(primary, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._primary, 65536)
        except OSError:  # Linux says so when the last writer has gone
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._primary)
            self._closed.set()
        self.text += self._decoder.decode(data, final=not data)
        self._changed.set()

    @property
    def plain(self) -> str:
        """What it showed, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.text).replace("\r\n", "\n")

    async def shows(self, text: str, *, times: int = 1) -> None:
        """Wait until it has shown a text so many times."""
        async with asyncio.timeout(SHOW_S):
            while self.plain.count(text) < times:
                self._changed.clear()
                await self._changed.wait()

    def types(self, keys: str) -> None:
        """Type something; Ctrl-C goes to all processes in the foreground."""
        os.write(self._primary, keys.encode())

    async def ended(self) -> int:
        """The exit code, once all that it showed is in `text`; minus the number of a signal that ended it."""
        async with asyncio.timeout(SHOW_S):
            code = await self._process.wait()
            await self._closed.wait()
            return code

    async def close(self) -> None:
        """Kill it, if it still runs."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()
        asyncio.get_running_loop().remove_reader(self._primary)
        os.close(self._primary)


@asynccontextmanager
async def in_terminal(
    *command: str, environment: Mapping[str, str], cwd: Path = ROOT
) -> AsyncIterator[Terminal]:
    """A command in a terminal of its own, killed afterwards."""
    primary, secondary = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", LOG_IN),
        *command,
        cwd=cwd,
        env=ideo_environment(environment),
        stdin=secondary,
        stdout=secondary,
        stderr=secondary,
    )
    os.close(secondary)
    terminal = Terminal(process, primary)
    try:
        yield terminal
    finally:
        await terminal.close()


async def in_shell(
    line: str, *, environment: Mapping[str, str], cwd: Path = ROOT, within_s: float = SHOW_S
) -> tuple[int, str, str]:
    """A line of bash: its exit code, standard output and standard error."""
    shell = await asyncio.create_subprocess_exec(
        *("bash", "-c", line),
        cwd=cwd,
        env=ideo_environment(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(within_s):
            output, errors = await shell.communicate()
    finally:
        if shell.returncode is None:
            os.killpg(shell.pid, signal.SIGKILL)
            await shell.wait()
    return shell.returncode or 0, output.decode(), errors.decode()
