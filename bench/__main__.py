"""`python -m bench [TABLE ...] [--quick] [--json] [--write]`: every measurement. See README.md.

Exit 1, with the reason, when a stream was not complete: that measurement has no figures then.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence

from bench.catchup import measure_catchup
from bench.compiled import measure_compiled
from bench.environment import Environment, open_environment
from bench.fanout import measure_backlog, measure_live
from bench.figures import NoFigure, Table
from bench.file_history import measure_file_history
from bench.first_diff import measure_first_diff
from bench.hold import measure_hold
from bench.idle import measure_idle
from bench.journal import measure_journal
from bench.many import measure_many
from bench.pace import measure_pace
from bench.page import PAGE, replace_tables, write_page
from bench.pages import measure_pages
from bench.proposals import measure_proposals
from bench.relay import measure_relay, measure_states
from bench.review import measure_review
from bench.rpc import measure_grpc
from bench.slow import measure_slow
from bench.stored import measure_stored
from bench.webhooks import measure_webhooks
from ide_orchestrator.client import HubError
from tests.support.processes import ROOT, StartFailed

MEASUREMENTS: Mapping[str, Callable[..., Awaitable[list[Table]]]] = {
    "relay": measure_relay,
    "pace": measure_pace,
    "states": measure_states,
    "backlog": measure_backlog,
    "live": measure_live,
    "idle": measure_idle,
    "slow": measure_slow,
    "hold": measure_hold,
    "many": measure_many,
    "journal": measure_journal,
    "grpc": measure_grpc,
    "catchup": measure_catchup,
    "stored": measure_stored,
    "review": measure_review,
    "proposals": measure_proposals,
    "history": measure_file_history,
    "first_diff": measure_first_diff,
    "pages": measure_pages,
    "webhooks": measure_webhooks,
    "compiled": measure_compiled,
}


async def measure(
    environment: Environment, names: Sequence[str], *, quick: bool
) -> tuple[list[Table], list[str]]:
    """The tables of those measurements, and why some have none."""
    tables, failures = [], []
    for name in names:
        print(f"bench: {name}", file=sys.stderr, flush=True)
        try:
            tables += await MEASUREMENTS[name](environment, quick=quick)
        except (NoFigure, HubError, StartFailed, TimeoutError, OSError) as error:
            failures.append(f"{name}: no figure: {str(error) or type(error).__name__}")
            print(f"bench: {failures[-1]}", file=sys.stderr, flush=True)
    return tables, failures


async def run(
    names: Sequence[str], *, quick: bool, peers: bool
) -> tuple[Environment, list[Table], list[str]]:
    """Where the measurements were taken, their tables, and why some have none."""
    async with open_environment(with_peers=peers) as environment:
        return environment, *(await measure(environment, names, quick=quick))


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench", description="Measure the hub beside its peers.")
    parser.add_argument(
        "tables", nargs="*", metavar="TABLE", help=f"of {', '.join(MEASUREMENTS)}; all by default"
    )
    parser.add_argument("--quick", action="store_true", help="only see that everything runs")
    parser.add_argument("--no-peers", action="store_true", help="measure the hub alone")
    parser.add_argument(
        "--write", action="store_true", help=f"also write {PAGE.relative_to(ROOT)}, or those tables of it"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    arguments = parser.parse_args()
    if unknown := set(arguments.tables) - MEASUREMENTS.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if arguments.write and (arguments.quick or arguments.no_peers):
        parser.error("--write needs the full measurement: leave out --quick and --no-peers")
    names = arguments.tables or list(MEASUREMENTS)
    environment, tables, failures = asyncio.run(
        run(names, quick=arguments.quick, peers=not arguments.no_peers)
    )
    for name, why in environment.absent.items():
        print(f"bench: without {name}: {why}", file=sys.stderr)
    if arguments.json:
        found = {"absent": environment.absent, "versions": environment.versions}
        print(json.dumps({**found, "tables": [table.json() for table in tables]}, indent=1))
    else:
        print("\n\n".join(str(table) for table in tables))
    if arguments.write and arguments.tables:
        failures += replace_tables(tables)
    elif arguments.write:
        write_page(environment, tables, failures)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
