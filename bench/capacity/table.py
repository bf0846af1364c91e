"""The tables of docs/scaling.md: unit costs with their sources, and what loads need by them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

from bench.capacity.costs import COSTS, SOURCES
from bench.capacity.model import Carrier, Load, Needs, needs
from bench.figures import Table
from tests.support.processes import ROOT

PAGE = ROOT / "docs" / "scaling.md"

#: The columns of the page.
_FULL = Load(100_000, 10_000, 5.0, Carrier.NOTIFY)
_STREAMS = dataclasses.replace(_FULL, carrier=Carrier.STREAMS)
_TOGETHER = dataclasses.replace(_STREAMS, together=True)
_BUILT = dataclasses.replace(_TOGETHER, shards=16, commits_per_s=100)
LOADS: Mapping[str, Load] = {
    "a tenth": dataclasses.replace(_FULL, followers=10_000, runs=1_000),
    "NOTIFY": _FULL,
    "NOTIFY, together": dataclasses.replace(_FULL, together=True),
    "streams": _STREAMS,
    "streams, together": _TOGETHER,
    "not built": _BUILT,
    "not built, 20 a second": dataclasses.replace(_BUILT, events_per_s=20.0),
}

_ROWS: Mapping[str, Callable[[Needs], float]] = {
    "events a second": lambda need: need.events_per_s,
    "deliveries a second": lambda need: need.deliveries_per_s,
    "replicas that follow a run and do not drive it": lambda need: need.remote_replicas,
    "replicas": lambda need: need.replicas,
    "cores in use by them": lambda need: need.hub_cores,
    "memory of a replica, MiB": lambda need: need.replica_mib,
    "descriptors of a replica": lambda need: need.descriptors,
    "wake-up messages a second, all replicas": lambda need: need.messages_per_s,
    "`NOTIFY` statements a second": lambda need: need.notifies_per_s,
    "hints a second, or streams named in a read, a replica": lambda need: need.threads_a_replica,
    "cores of the streams' server": lambda need: need.carrier_cores,
    "commits a second": lambda need: need.commits_per_s,
    "cores in use by PostgreSQL": lambda need: need.postgres_cores,
    "of these, reads by following replicas": lambda need: need.postgres_read_cores,
    "connections of PostgreSQL": lambda need: need.connections,
    "WAL, MB a second": lambda need: need.wal_bytes_per_s / 1e6,
    "table as written, GB a day": lambda need: need.table_bytes_per_day / 1e9,
    "table after the runs' ends, GB a day": lambda need: need.joined_bytes_per_day / 1e9,
    "network from the runtime, MB a second": lambda need: need.in_bytes_per_s / 1e6,
    "network to followers, MB a second": lambda need: need.out_bytes_per_s / 1e6,
}


def tables() -> list[Table]:
    """Both tables of the page."""
    found = [needs(load, COSTS) for load in LOADS.values()]
    rows = [[name, *(shown(figure(need)) for need in found)] for name, figure in _ROWS.items()]
    units = [[name, shown(getattr(COSTS, name)), *source] for name, source in SOURCES.items()]
    return [
        Table("Needs", ["", *LOADS], rows),
        Table("Unit costs", ["name", "figure", "what", "source"], units),
    ]


def shown(value: float) -> str:
    """Two significant digits; more would claim more than the costs are."""
    if value == 0:
        return "0"
    rounded = float(f"{value:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"


def with_tables(page: str, found: Sequence[Table]) -> str:
    """The page, with each table directly below its heading. Raises ValueError when a heading, or a table
    below it, is missing."""
    for table in found:
        place = re.compile(rf"(?<=^## {re.escape(table.title)}\n\n)(?:\|.*\n)+", re.MULTILINE)
        page, places = place.subn(f"{table.grid()}\n".replace("\\", r"\\"), page)
        if places != 1:
            raise ValueError(f"{PAGE.name} has no table below {table.title!r}")
    return page
