"""The programs of the client's README and of its page, run as they are against a hub."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from tests.support.hub import RunningHub, running_hub

ROOT = Path(__file__).parents[3]
README = ROOT / "clients" / "python" / "README.md"
PAGE = ROOT / "docs" / "howto" / "use-the-python-client.md"


def programs(page: Path) -> list[str]:
    """The programs of a page."""
    return re.findall(r"^```python\n(import .*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


async def output_of(program: str, folder: Path, hub: RunningHub) -> str:
    """What the program prints, in a process of its own."""
    (folder / "program.py").write_text(program)
    environment = {**os.environ, **hub.ideo_settings, "IDEO_GRPC": hub.grpc, "NO_PROXY": "127.0.0.1"}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "program.py",
        cwd=folder,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(100):
        output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    return output


@pytest.mark.parametrize(
    ("page", "number"),
    [(page, number) for page in (README, PAGE) for number in range(len(programs(page)))],
    ids=lambda value: value.stem if isinstance(value, Path) else str(value),
)
async def test_a_program_works_as_it_is(database: str, tmp_path: Path, page: Path, number: int) -> None:
    async with running_hub(database) as hub:
        output = await output_of(programs(page)[number], tmp_path, hub)
    assert "1 run_started\n" in output
    assert " terminal\n" in output
    assert output.endswith("version 2 of the draft\n")


def test_each_page_has_a_program() -> None:
    assert len(programs(README)) == 1
    assert len(programs(PAGE)) == 2
    lines = programs(README)[0].splitlines()
    assert len([line for line in lines if line.startswith("        ")]) <= 10
