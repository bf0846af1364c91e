"""The programs of the client's README and of its page, run as they are against a hub."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.hub import running_hub
from tests.support.pages import code_blocks
from tests.support.programs import output_of

README = code_blocks("clients/python/README.md", "python")
PAGE = code_blocks("docs/howto/use-the-python-client.md", "python")


@pytest.mark.parametrize(
    "program", [*README, *PAGE], ids=["README", *(f"page-{number}" for number in range(len(PAGE)))]
)
async def test_a_program_works_as_it_is(database: str, tmp_path: Path, program: str) -> None:
    (tmp_path / "program.py").write_text(program)
    async with running_hub(database) as hub:
        environment = {**hub.ideo_settings, "IDEO_GRPC": hub.grpc, "NO_PROXY": "127.0.0.1"}
        output = await output_of(sys.executable, "program.py", folder=tmp_path, **environment)
    assert "1 run_started\n" in output
    assert " terminal\n" in output
    assert output.endswith("version 2 of the draft\n")


def test_each_page_has_a_program() -> None:
    assert len(README) == 1
    assert len(PAGE) == 2
    lines = README[0].splitlines()
    assert len([line for line in lines if line.startswith("        ")]) <= 10
