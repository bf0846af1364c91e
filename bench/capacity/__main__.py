"""`python -m bench.capacity` prints the tables of docs/scaling.md; `--measure` takes unit costs here."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import uvloop

from bench.capacity.ended import measure_ended
from bench.capacity.lockstep import measure_commits, measure_followed, measure_hints, measure_wakeups
from bench.capacity.table import PAGE, tables, with_tables
from bench.figures import NoFigure, Table
from server.db.migrate import up
from server.embedded_postgres.server import embedded
from tests.support.processes import ROOT

MEASUREMENTS: Mapping[str, Callable[..., Awaitable[Table]]] = {
    "commits": measure_commits,
    "wakeups": measure_wakeups,
    "followed": measure_followed,
    "hints": measure_hints,
}
#: It needs a whole hub, with a runtime.
_ENDED = "ended"
_PARTS = (*MEASUREMENTS, _ENDED)


async def measure(names: Sequence[str], *, quick: bool) -> None:
    """Print the tables of measurements. Raises NoFigure."""
    for name in names:
        if name == _ENDED:
            print(await measure_ended(quick=quick), end="\n\n", flush=True)
            continue
        with tempfile.TemporaryDirectory(prefix="ideo-capacity-") as folder:
            async with embedded(Path(folder) / "postgres") as dsn:
                await up(dsn)
                print(await MEASUREMENTS[name](dsn, Path(folder), quick=quick), end="\n\n", flush=True)


def main() -> int:
    """Print the tables, or measure."""
    parser = argparse.ArgumentParser(prog="bench.capacity", description="What followers and live runs need.")
    parser.add_argument(
        "--write", action="store_true", help=f"write the tables into {PAGE.relative_to(ROOT)}"
    )
    parser.add_argument(
        "--measure", nargs="*", metavar="PART", help=f"unit costs: {', '.join(_PARTS)}; all by default"
    )
    parser.add_argument("--quick", action="store_true", help="only see that the measurements run")
    arguments = parser.parse_args()
    if arguments.measure is None:
        print("\n\n".join(map(str, tables())))
        if arguments.write:
            PAGE.write_text(with_tables(PAGE.read_text(), tables()))
        return 0
    names = arguments.measure or _PARTS
    if unknown := set(names) - set(_PARTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(measure(names, quick=arguments.quick))
    except NoFigure as error:
        print(f"no figure: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
