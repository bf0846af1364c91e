"""The bench runs and gives figures. What they are is not judged here: machines differ."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TARGETS = {"proxy", "hub legacy", "hub ideo.v1", "hub ideo.v1.proto", "hub gRPC"}


async def test_the_quick_bench_gives_figures_for_every_measurement() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bench", "--quick", "--json"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, wrong = await process.communicate()
    assert process.returncode == 0, wrong.decode()
    through, stored, fanout, review = json.loads(out)["tables"]
    assert {row[0] for row in through["rows"]} == TARGETS
    rate = through["columns"].index("events/s")
    assert all(row[rate]["median"] > 0 for row in through["rows"])
    assert {row[0] for row in stored["rows"]} == {"error_mid_stream", "long_run", "short_run"}
    assert len(fanout["rows"]) == 4
    assert [row[0].split(",")[0] for row in review["rows"]] == ["diff", "patch", "merge"]
    for table in (through, stored, fanout, review):
        assert all(len(row) == len(table["columns"]) for row in table["rows"])
