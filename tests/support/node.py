"""Programs in Node.js: in JavaScript with the clients of open protocols, which `tests/node/package-lock.json`
pins; in TypeScript with the contract's stubs and the packages of `tools/typescript`."""

from __future__ import annotations

import asyncio
import fcntl
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.support.programs import ROOT, installed, output_of
from tests.support.tools import need

_PACKAGES = ROOT / "tests" / "node"
_TYPESCRIPT = ROOT / "tools" / "typescript" / "node_modules"


async def install_packages(folder: Path) -> None:
    """Install what the folder's package-lock.json pins, unless it is installed.

    Skips the test without npm; in CI, fails it.
    """
    npm = installed("npm")
    lock, marker = folder / "package-lock.json", folder / "node_modules" / ".package-lock.json"
    with lock.open() as file:
        # Another worker may be at it.
        await asyncio.to_thread(fcntl.flock, file, fcntl.LOCK_EX)
        if not marker.exists() or marker.stat().st_mtime < lock.stat().st_mtime:
            await output_of(npm, "ci", "--prefer-offline", "--no-progress", folder=folder)
            await asyncio.to_thread(marker.touch)


async def node_command(folder: Path, program: str) -> tuple[str, str]:
    """The command of a program, which is written into `folder`. The packages are installed first, if needed.

    Skips the test without Node.js; in CI, fails it.
    """
    node = installed("node")
    await install_packages(_PACKAGES)
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(_PACKAGES / "node_modules")
    path = folder / "program.mjs"
    path.write_text(program)
    return node, str(path)


async def compile_typescript(folder: Path, programs: Mapping[str, str]) -> str:
    """Compile programs, by their names, beside the stubs, into `out`. Returns the path of node."""
    node = installed("node")
    need(
        (_TYPESCRIPT / "@connectrpc").exists(), "the TypeScript packages are not installed: run the task gen"
    )
    (folder / "node_modules").symlink_to(_TYPESCRIPT)
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
