"""The programs of docs/howto/use-grpc.md, run as they are, over connections that break."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.cut_runs import cut_held_run
from tests.support.hub import running_hub
from tests.support.node import compile_typescript
from tests.support.paced_runtime import PacedRuntime
from tests.support.pages import code_blocks
from tests.support.programs import ROOT, installed, output_of
from tests.support.proxy import proxy
from tests.support.runtime import serve_runtime

STUBS_IN_GO = "github.com/bizmatters/ide-orchestrator/gen/go"


def program(language: str) -> str:
    """The first program of the page in a language."""
    return code_blocks("docs/howto/use-grpc.md", language)[0]


async def python(folder: Path) -> list[str]:
    (folder / "follow.py").write_text(program("python"))
    return [sys.executable, "follow.py"]


async def go(folder: Path) -> list[str]:
    compiler = installed("go")
    (folder / "follow.go").write_text(program("go"))
    stubs = ROOT / "gen" / "go"
    shutil.copy(stubs / "go.sum", folder)
    module = (stubs / "go.mod").read_text().replace(f"module {STUBS_IN_GO}", "module follow")
    module += f"\nrequire {STUBS_IN_GO} v0.0.0\nreplace {STUBS_IN_GO} => {stubs}\n"
    (folder / "go.mod").write_text(module)
    await output_of(compiler, "build", "-o", "follow", ".", folder=folder, GOFLAGS="-mod=mod")
    return ["./follow"]


async def typescript(folder: Path) -> list[str]:
    return [await compile_typescript(folder, {"follow": program("ts")}), "out/follow.js"]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("client", [python, go, typescript], ids=lambda client: client.__name__)
async def test_a_program_of_the_page_gets_every_event_once_over_connections_that_break(
    database: str, tmp_path: Path, client: object
) -> None:
    command = await client(tmp_path)  # type: ignore[operator]
    runtime = PacedRuntime("short_run", 0.25)
    async with (
        serve_runtime(runtime) as url,
        running_hub(database, runtime_url=url) as hub,
        proxy(int(hub.grpc.rpartition(":")[2])) as way,
    ):
        environment = {"IDEO_GRPC": f"127.0.0.1:{way.place}", "IDEO_TOKEN": hub.token()}
        running = asyncio.ensure_future(output_of(*command, "go on", folder=tmp_path, **environment))
        # In the middle of the stream: when the program has all events, it asks for the proposal only once.
        await cut_held_run(hub, way, runtime, hows=("reset",) * 3)
        output = await running
    assert way.broken >= 3
    seqs = [int(line.split()[0]) for line in output.splitlines() if line[:1].isdecimal()]
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(seqs) > 50
    assert "erminal" in output
    if client is python:
        assert "/definition.json 234 bytes" in output
