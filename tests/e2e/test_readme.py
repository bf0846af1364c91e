"""The commands of README.md, the tutorial and the page on transports, pasted beside `ideo dev`."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from tests.support.pages import code_blocks
from tests.support.processes import running

ROOT = Path(__file__).parents[2]


def commands() -> str:
    """The indented lines of the section "Try it", without the export that has no token."""
    section = (ROOT / "README.md").read_text().partition("## Try it")[2].partition("\n## ")[0]
    lines = [line[4:] for line in section.splitlines() if line.startswith("    ")]
    return "\n".join(line for line in lines if not line.startswith("export "))


def commands_of(page: str) -> str:
    """The shell lines of a page, without those of the first terminal and the export that has no token."""
    blocks = code_blocks(f"docs/{page}", "sh")
    return "\n".join(block for block in blocks if not block.startswith(("make run", "export ")))


async def pasted(script: str, folder: Path) -> str:
    """What a shell prints for the script, beside `ideo dev` whose data are in the folder."""
    environment = {"IDEO_DATA_DIR": str(folder / "data"), "IDEO_HTTP_PORT": "0", "IDEO_GRPC_PORT": "0"}
    async with running("dev", environment=environment) as dev:
        await dev.serving("HTTP", "gRPC", "export")
        # This first: the interpreter may lie below /tmp itself.
        script = script.replace("/tmp/", f"{folder}/")
        script = script.replace(".venv/bin/", f"{Path(sys.executable).parent}/")
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
    assert not list(folder.rglob("postmaster.pid"))
    return output


@pytest.mark.timeout(300)
async def test_what_the_tutorial_says_works_when_it_is_pasted(tmp_path: Path) -> None:
    output = await pasted(commands_of("tutorial.md").replace("speed=0.1", "speed=3"), tmp_path)
    assert re.search(r" 1 run [0-9a-f-]+ started\n", output)
    assert output.count("completed, 2 files") == 2
    assert '"status": "completed"' in output
    assert '"secret": "ideo_share_' in output


@pytest.mark.timeout(300)
async def test_what_the_readme_says_works_when_it_is_pasted(tmp_path: Path) -> None:
    output = await pasted(commands(), tmp_path)
    assert re.search(r" 1 run [0-9a-f-]+ started\n", output)
    assert "completed, 2 files, 52 events" in output
    assert "/THE_SPEC/constitution.md (6 lines)" in output


@pytest.mark.timeout(300)
async def test_what_the_page_on_transports_says_works_when_it_is_pasted(tmp_path: Path) -> None:
    script = commands_of("howto/try-each-transport.md")
    assert "http://127.0.0.1:50051" in script
    output = await pasted(script, tmp_path)
    assert '"status":"processing"' in output
    assert output.count("event: terminal") == 2
    assert re.search(r"Connection closed: 1000", output)
    assert re.search(r'^\{"batch": *\{"events"', output, re.MULTILINE)
    assert '"complete": true' in output
    assert '"ticket":' in output
    assert output.index('"generated_files": {') > output.index('"outcome": "OUTCOME_COMPLETED"')
    assert "completed, 2 files, 52 events" in output
    assert output.count('"outcome": "OUTCOME_COMPLETED"') == 2
