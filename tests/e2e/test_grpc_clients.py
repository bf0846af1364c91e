"""The programs of docs/howto/use-grpc.md, run as they are, over connections that break."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.hand_clock import until
from tests.support.hub import running_hub
from tests.support.programs import ROOT, installed, output_of
from tests.support.proxy import proxy
from tests.support.tools import need

PAGE = ROOT / "docs" / "howto" / "use-grpc.md"
MODULES = ROOT / "tools" / "typescript" / "node_modules"
STUBS_IN_GO = "github.com/bizmatters/ide-orchestrator/gen/go"


def program(language: str) -> str:
    """The first program of the page in a language."""
    found = re.search(rf"\n```{language}\n(.*?)\n```\n", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


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


async def compile_typescript(folder: Path, programs: Mapping[str, str]) -> str:
    """Compile programs, by their names, beside the stubs, into `out`. Returns the path of node."""
    node = installed("node")
    need((MODULES / "@connectrpc").exists(), "the TypeScript packages are not installed: run the task gen")
    (folder / "node_modules").symlink_to(MODULES)
    (folder / "package.json").write_text('{"type": "module"}')
    for name, text in programs.items():
        (folder / f"{name}.ts").write_text(text)
    shutil.copytree(ROOT / "gen" / "typescript" / "ide_orchestrator", folder / "ide_orchestrator")
    options = {
        "strict": True,
        "skipLibCheck": True,
        "target": "es2022",
        "module": "es2022",
        "moduleResolution": "bundler",
        "types": ["node"],
        "outDir": "out",
    }
    files = [f"{name}.ts" for name in programs]
    (folder / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": files}))
    await output_of(node, "node_modules/typescript/bin/tsc", "-p", ".", folder=folder)
    return node


async def typescript(folder: Path) -> list[str]:
    return [await compile_typescript(folder, {"follow": program("ts")}), "out/follow.js"]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("client", [python, go, typescript], ids=lambda client: client.__name__)
async def test_a_program_of_the_page_gets_every_event_once_over_connections_that_break(
    database: str, tmp_path: Path, client: object
) -> None:
    command = await client(tmp_path)  # type: ignore[operator]
    async with running_hub(database) as hub, proxy(int(hub.grpc.rpartition(":")[2])) as way:
        environment = {"IDEO_GRPC": f"127.0.0.1:{way.place}", "IDEO_TOKEN": hub.token()}
        running = asyncio.ensure_future(
            output_of(*command, "x [[replay:short_run speed=3]]", folder=tmp_path, **environment)
        )
        streams = hub.core.broadcaster
        for _ in range(3):
            await until(lambda: streams.readers or running.done(), within_s=60)
            # In the middle of the stream.
            await asyncio.sleep(0.2)
            way.break_all("reset")
            await until(lambda: not streams.readers)
        output = await running
    assert way.broken
    seqs = [int(line.split()[0]) for line in output.splitlines() if line[:1].isdecimal()]
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(seqs) > 50
    assert "erminal" in output
    if client is python:
        assert "/definition.json 234 bytes" in output
