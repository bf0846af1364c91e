"""The runtimes of the examples, served as their README.md files say, and a hub in front of one."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from tests.support.hub import RunningHub, running_hub
from tests.support.programs import ROOT
from tests.support.servers import free_port

#: examples/deepagents_runtime with the newest deepagents, and with one whose files are lines; LangGraph's
#: Agent Server, `langgraph dev`, with the graph of examples/langgraph_server.
NEWEST, LINES, LANGGRAPH = "deepagents", "deepagents-0.2", "langgraph-server"
#: What has the packages of each, in build/examples.
_PROGRAMS = {
    NEWEST: "deepagents_runtime/requirements/bin/uvicorn",
    LINES: "deepagents_runtime/requirements-0.2/bin/uvicorn",
    LANGGRAPH: "langgraph_server/requirements/bin/langgraph",
}
#: Seconds in which `langgraph dev` must be ready: it imports a good deal.
READY_S = 240.0


class ExampleRuntime(NamedTuple):
    """A running example. settings: those of a hub in front of it."""

    url: str
    settings: dict[str, Any]

    @asynccontextmanager
    async def hub(self, database: str, *, url: str | None = None) -> AsyncIterator[RunningHub]:
        """A hub in front of it. url: by which the hub reaches it, if that is another one."""
        async with running_hub(database, runtime_url=url or self.url, **self.settings) as hub:
            yield hub


@contextmanager
def example_runtime(name: str, folder: Path) -> Iterator[ExampleRuntime]:
    """One of the examples. folder: an empty one, for what it keeps."""
    program = ROOT / "build/examples" / _PROGRAMS[name]
    assert program.exists(), "`poe examples` installs what the example needs"
    if name == LANGGRAPH:
        with _langgraph_server(program, folder) as url:
            yield ExampleRuntime(url, {"runtime_kind": "langgraph-server"})
    else:
        with _deepagents_runtime(program) as url:
            yield ExampleRuntime(url, {"runtime_can_resume": True})


@contextmanager
def _deepagents_runtime(uvicorn: Path) -> Iterator[str]:
    command = [str(uvicorn), "app:app", "--port", "0", "--no-access-log"]
    folder = ROOT / "examples/deepagents_runtime"
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            lines = iter(process.stderr.readline, "")
            found = next(filter(None, (re.search(r"running on (http://\S+)", line) for line in lines)))
            yield found[1]
        finally:
            process.kill()


@contextmanager
def _langgraph_server(langgraph: Path, folder: Path) -> Iterator[str]:
    # It keeps its threads below its folder.
    for name in ("langgraph_server", "deepagents_runtime"):
        shutil.copytree(ROOT / "examples" / name, folder / name)
    url = f"http://127.0.0.1:{free_port()}"
    command = [str(langgraph), "dev", "--no-browser", "--no-reload", "--port", url.rpartition(":")[2]]
    log = (folder / "log").open("wb")
    with log, subprocess.Popen(command, cwd=folder / "langgraph_server", stdout=log, stderr=log) as process:
        try:
            _wait_until_ready(process, url, folder / "log")
            yield url
        finally:
            process.kill()


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    give_up_at = time.monotonic() + READY_S
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < give_up_at, log.read_text()
        try:
            if httpx.get(f"{url}/ok").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
