"""`python -m bench.capacity`: what N followers of M live runs need. `--measure PART` measures unit costs here."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping

from bench.capacity.database import measure_commits, measure_ended
from bench.capacity.replicas import measure_followed, measure_loop, measure_replicas
from bench.environment import open_environment
from bench.figures import NoFigure, Table

MEASUREMENTS: Mapping[str, Callable[..., Awaitable[list[Table]]]] = {
    "loop": measure_loop,
    "replicas": measure_replicas,
    "followed": measure_followed,
    "commits": measure_commits,
    "ended": measure_ended,
}


async def measure(names: list[str], *, quick: bool) -> None:
    """Print the tables of measurements. Raises NoFigure."""
    async with open_environment(with_peers=False) as environment:
        for name in names:
            for table in await MEASUREMENTS[name](environment, quick=quick):
                print(table, end="\n\n", flush=True)


def main() -> int:
    """Print the tables, or measure."""
    parser = argparse.ArgumentParser(prog="bench.capacity", description=__doc__)
    parser.add_argument("--measure", nargs="+", choices=MEASUREMENTS, metavar="PART", help=f"of {', '.join(MEASUREMENTS)}")
    parser.add_argument("--quick", action="store_true", help="only see that the measurements run")
    arguments = parser.parse_args()
    try:
        asyncio.run(measure(arguments.measure or list(MEASUREMENTS), quick=arguments.quick))
    except NoFigure as error:
        print(f"no figure: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
