"""The bench runs and gives figures. What they are is not judged here: machines differ."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


async def tables(*names: str) -> list[dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bench", *names, "--quick", "--no-peers", "--json"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, wrong = await process.communicate()
    assert process.returncode == 0, wrong.decode()
    found: list[dict[str, Any]] = json.loads(out)["tables"]
    return found


@pytest.mark.timeout(300)  # a process for each part
async def test_a_quick_bench_gives_figures_of_the_hub_without_peers() -> None:
    # Those that begin with a hub of their own are left to `make bench QUICK=1`.
    for table in await tables(
        "relay", "pace", "slow", "journal", "stored", "review", "proposals", "webhooks", "compiled"
    ):
        assert table["rows"]
        for row in table["rows"]:
            assert len(row) == len(table["columns"])
            figures = [cell["median"] for cell in row if isinstance(cell, dict)]
            assert any(figures) or not figures
