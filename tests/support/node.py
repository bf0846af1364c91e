"""Programs in Node.js that use the clients of open protocols, as `tests/node/package-lock.json` pins them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.programs import ROOT, installed, output_of

_PACKAGES = ROOT / "tests" / "node"


async def node_command(folder: Path, program: str) -> tuple[str, str]:
    """The command of a program, which is written into `folder`. The packages are installed first, if needed.

    Skips the test without Node.js; in CI, fails it.
    """
    lock, marker = _PACKAGES / "package-lock.json", _PACKAGES / "node_modules" / ".package-lock.json"
    node, npm = installed("node"), installed("npm")
    if not marker.exists() or marker.stat().st_mtime < lock.stat().st_mtime:
        await output_of(npm, "ci", "--no-progress", folder=_PACKAGES)
        await asyncio.to_thread(marker.touch)
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(_PACKAGES / "node_modules")
    path = folder / "program.mjs"
    path.write_text(program)
    return node, str(path)
