"""Autobahn's WebSocket cases against the hub's WebSocket server.

The suite is Python 2 code, so it gets an interpreter and an environment of its own. The hub's endpoint
takes one kind of message and echoes none: an echo takes its place, with the hub's protocol and
settings except for the size of messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from websockets.exceptions import InvalidState

from server.domain.rates import Rate
from server.http.connection import ClientGone, connection_of
from server.http.listener import listening_socket
from server.http.server import uvicorn_config
from server.http.websocket_protocol import HubConfig, HubSocketProtocol
from tests.support.servers import uvicorn_server

#: What is installed for it.
VIRTUALENV, SUITE = "virtualenv==20.15.1", "autobahntestsuite==25.10.1"
#: Cases of performance (9) and of compression (12, 13), which the hub does not speak.
LEFT_OUT = ["9.*", "12.*", "13.*"]
#: Cases that fail and may, each in one way alone, with the reason.
EXCEPTIONS = {
    "7.1.5": (
        "FAILED, close WRONG CODE",
        "a close in the middle of a fragmented message is answered with 1002 and not with 1000; the "
        "connection ends either way",
    ),
}
_GOOD = {"OK", "INFORMATIONAL", "NON-STRICT", "UNIMPLEMENTED"}


class EchoProtocol(HubSocketProtocol):
    """The hub's protocol, with a stream that gives each message back."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take messages in the stream's place."""
        super().connection_made(transport)
        self.stream.on_message = self._give_back

    def _give_back(self, message: bytes) -> None:
        with contextlib.suppress(InvalidState):  # the client closes already
            if self.curr_msg_data_type == "text":
                self.conn.send_text(message)
            else:
                self.conn.send_binary(message)
        self.transport.write(b"".join(self.conn.data_to_send()))


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    connection = connection_of(scope)
    await receive()
    await send({"type": "websocket.accept"})
    with contextlib.suppress(ClientGone), connection.streaming():
        await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def _served() -> AsyncIterator[str]:
    """The echo's address."""
    config = uvicorn_config(_echo, drain_s=1)  # type: ignore[arg-type]
    assert isinstance(config, HubConfig)
    config.ws, config.ws_max_size = EchoProtocol, 16 << 20
    # The suite's messages are larger, and cut smaller, than those that the hub takes.
    config.bytes_rate = config.frames_rate = Rate(64 << 20, 64 << 20)
    async with uvicorn_server(config, listening_socket("127.0.0.1", 0)) as (_, address):
        yield address


async def _run(*command: str | Path, cwd: Path | None = None) -> None:
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*map(str, command), stdout=quiet, stderr=quiet, cwd=cwd)
    if await process.wait() != 0:
        raise RuntimeError(f"{Path(command[0]).name} ended with {process.returncode}")


async def _python2() -> str | None:
    """An interpreter of Python 2.7: $PYTHON2, or the first one on the path that starts."""
    for name in (os.environ.get("PYTHON2"), "python2.7", "python2"):
        found = name and shutil.which(name)
        if found:
            with contextlib.suppress(RuntimeError):
                await _run(found, "-c", "import sys; sys.exit(sys.version_info[:2] != (2, 7))")
                return found
    return None


async def run_autobahn() -> tuple[str, Counter[str], dict[str, str]] | str:
    """The suite's version, how many cases behaved how, and those that failed; or why it was not run."""
    python2 = await _python2()
    if python2 is None:
        return "skipped: there is no Python 2.7 (name one by PYTHON2)"
    with TemporaryDirectory(prefix="autobahn-") as made:
        folder = Path(made)
        try:
            await _run(sys.executable, "-m", "venv", folder / "three")
            await _run(folder / "three/bin/pip", "install", VIRTUALENV)
            await _run(folder / "three/bin/virtualenv", "-p", python2, folder / "two")
            await _run(folder / "two/bin/pip", "install", SUITE)
        except RuntimeError as error:
            return f"skipped: {SUITE} could not be installed ({error})"
        async with _served() as address:
            spec = {
                "outdir": str(folder / "reports"),
                "servers": [{"agent": "hub", "url": f"ws{address.removeprefix('http')}/"}],
                "cases": ["*"],
                "exclude-cases": LEFT_OUT,
                "exclude-agent-cases": {},
            }
            (folder / "spec.json").write_text(json.dumps(spec))
            await _run(
                folder / "two/bin/wstest", "-m", "fuzzingclient", "-s", folder / "spec.json", cwd=folder
            )
        cases = json.loads((folder / "reports/index.json").read_text())["hub"]
    found = Counter(case["behavior"] for case in cases.values())
    failed = {
        name: f"{case['behavior']}, close {case['behaviorClose']}"
        for name, case in cases.items()
        if case["behavior"] not in _GOOD or case["behaviorClose"] not in _GOOD
    }
    return SUITE, found, failed
