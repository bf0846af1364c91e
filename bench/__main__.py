"""`python -m bench [--quick] [--json]`: every measurement, as tables or as JSON. See README.md.

Exit 1, with the reason, when a stream was not complete: there is no figure then.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys

from bench.environment import NoFigure, open_environment
from bench.fanout import measure_fanout
from bench.figures import Table
from bench.review import CASES, measure_review
from bench.stored import measure_stored
from bench.through import Load, measure_through
from tests.support.processes import StartFailed


async def measure(*, quick: bool) -> list[Table]:
    """Every table. Raises NoFigure."""
    async with open_environment() as environment:
        if quick:
            through = await measure_through(environment, [Load("one short run", "short_run", 1, 1)], rounds=1)
            stored = await measure_stored(environment, runs=1)
            fanout = await measure_fanout(environment, [1, 3], "short_run")
            review = measure_review(["10 files of 200 lines"], rounds=1)
        else:
            loads = [
                Load("20 runs in a row", "long_run", 20, 1),
                Load("20 runs, 5 at once", "long_run", 20, 5),
            ]
            through = await measure_through(environment, loads, rounds=4)
            stored = await measure_stored(environment, runs=5)
            fanout = await measure_fanout(environment, [1, 10, 100])
            review = measure_review([case for case in CASES if not case.startswith("10 ")], rounds=3)
    return [*through, stored, fanout, review]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench", description="Measure the hub beside a plain proxy.")
    parser.add_argument("--quick", action="store_true", help="only see that everything runs")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    arguments = parser.parse_args()
    try:
        tables = asyncio.run(measure(quick=arguments.quick))
    except (NoFigure, StartFailed) as refusal:
        print(f"bench: no figure: {refusal}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps({"cores": os.cpu_count(), "tables": [table.json() for table in tables]}, indent=1))
    else:
        print("\n\n".join(str(table) for table in tables))
    return 0


if __name__ == "__main__":
    sys.exit(main())
