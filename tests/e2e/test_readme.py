"""README.md's commands, pasted into a shell beside a running `ideo dev`."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from tests.support.processes import running

ROOT = Path(__file__).parents[2]


def commands() -> str:
    """The indented lines of the section "Try it", without the export that has no token."""
    section = (ROOT / "README.md").read_text().partition("## Try it")[2].partition("\n## ")[0]
    lines = [line[4:] for line in section.splitlines() if line.startswith("    ")]
    return "\n".join(line for line in lines if not line.startswith("export "))


@pytest.mark.timeout(300)
async def test_what_the_readme_says_works_when_it_is_pasted(tmp_path: Path) -> None:
    environment = {"IDEO_DATA_DIR": str(tmp_path / "data"), "IDEO_HTTP_PORT": "0", "IDEO_GRPC_PORT": "0"}
    async with running("dev", environment=environment) as dev:
        await dev.serving("HTTP", "gRPC", "export")
        # This first: the interpreter may lie below /tmp itself.
        script = commands().replace("/tmp/", f"{tmp_path}/")
        script = script.replace(".venv/bin/", f"{Path(sys.executable).parent}/")
        assert "http://127.0.0.1:50051" in script
        script = script.replace("http://127.0.0.1:50051", f"http://{dev.addresses['gRPC'].strip()}")
        shell = await asyncio.create_subprocess_exec(
            "bash",
            "-euc",
            f"export {dev.addresses['export']}\n{script}",
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(200):
            output = (await shell.communicate())[0].decode()
        assert await dev.stop() == 0
    assert shell.returncode == 0, output
    assert '"status":"processing"' in output
    assert "event: terminal" in output
    assert re.search(r"Connection closed: 1000", output)
    assert "completed, 2 files, 52 events" in output
    assert '"outcome": "OUTCOME_COMPLETED"' in output
    assert not list(tmp_path.rglob("postmaster.pid"))
