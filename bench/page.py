"""docs/performance.md: the tables, with machine, versions and date, and what each peer does not do."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from bench.environment import Environment
from bench.figures import Table
from bench.machine import description
from bench.peers.catalogue import EVERY_PEER
from tests.support.processes import ROOT

PAGE = ROOT / "docs" / "performance.md"

_INTRODUCTION = """# Performance

Written by `make bench`; how it measures is in `bench/README.md`. Hub and peers take turns, round by round,
with the same frames. A cell is the median of the rounds, with the minimum and maximum in parentheses; a ratio
(÷) compares figures of the same round. Only ratios carry over to another machine. CPU is that of the measured
process alone. Each event of every stream was there, once and in order; otherwise there would be no figure.
"""


def write_page(environment: Environment, tables: Sequence[Table], failures: Sequence[str]) -> None:
    """Write the whole page. failures: why some measurements have no figures."""
    PAGE.write_text(_page(environment, tables, failures))


def replace_tables(tables: Sequence[Table]) -> list[str]:
    """Write some tables in the place of those with the same titles. Returns, and prints, the titles that the
    page lacks."""
    introduction, *sections = re.split(r"^(?=## )", PAGE.read_text(), flags=re.MULTILINE)
    titles = [section.partition("\n")[0].removeprefix("## ") for section in sections]
    measured = f"Measured on {datetime.now(UTC):%Y-%m-%d}, commit {_commit()}."
    missing = [table.title for table in tables if table.title not in titles]
    for title in missing:
        print(f"bench: {PAGE.name} has no table {title!r}: write the whole page first", file=sys.stderr)
    for table in tables:
        if table.title in titles:
            sections[titles.index(table.title)] = f"{_section(table)}\n{measured}\n\n"
    PAGE.write_text("".join([introduction, *sections]).rstrip("\n") + "\n")
    return missing


def _page(environment: Environment, tables: Sequence[Table], failures: Sequence[str]) -> str:
    parts = [_INTRODUCTION, "\n## Where\n\n", *(f"- {line}\n" for line in _where(environment))]
    parts += ["\n## Peers\n\n| peer | version | what it does not do |\n|---|---|---|\n"]
    for peer in EVERY_PEER:
        name = peer.name
        version = environment.versions.get(name)
        why = environment.absent.get(name, "left out")
        parts.append(f"| {name} | {version or f'absent: {why}'} | {peer.does_not} |\n")
    parts += [f"\n{_section(table)}" for table in tables]
    parts += [f"\n**{failure}**\n" for failure in failures]
    return "".join(parts)


def _section(table: Table) -> str:
    note = f"\n{table.note}\n" if table.note else ""
    return f"## {table.title}\n\n{table.grid()}\n{note}"


def _where(environment: Environment) -> list[str]:
    packages = ("uvloop", "uvicorn", "websockets", "grpcio", "asyncpg", "protobuf")
    pinned = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    return [
        f"{datetime.now(UTC):%Y-%m-%d}, commit {_commit()}",
        description(),
        f"Python {platform.python_version()}, {pinned}, PostgreSQL {environment.postgres_version}",
    ]


def _commit() -> str:
    """The commit that is measured, with a mark when files differ from it."""
    command = ["git", "describe", "--always", "--dirty=, changed since"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
