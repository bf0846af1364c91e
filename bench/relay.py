"""Runs at full speed, a follower each, beside the peers: `relay` with tokens, `states` with state frames."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from bench.environment import Environment, by_name, in_turn
from bench.figures import Stats, Table, ratios
from bench.followers import Target
from bench.reading import Reading

TO = ("Go", "FastAPI")


async def measure_relay(environment: Environment, *, quick: bool) -> list[Table]:
    """Tokens: the long run, as it was recorded, in 20 runs at once. Raises NoFigure."""
    forms = ["proto", "legacy"] if quick else ["proto", "legacy", "json"]
    targets = [*environment.relays(), *map(environment.hub_socket, forms), environment.hub_grpc()]
    read = partial(environment.read, runs=2 if quick else 20)
    taken = await in_turn(
        targets, 1 if quick else 4, lambda target: read(target, "long_run"), warm_up=not quick
    )
    runs = "2 runs" if quick else "20 runs"
    return [
        _table(
            f"Relay of tokens at full speed, {runs} of `long_run`, a follower each", targets, taken, ("Go",)
        )
    ]


async def measure_states(environment: Environment, *, quick: bool) -> list[Table]:
    """State frames: 20 files in 125 KB; in every second run a file is a list of lines. Raises NoFigure."""
    count = 10 if quick else 100
    loads = [f"states-text-{count}", f"states-lines-{count}"]
    targets = [*environment.relays(), *map(environment.hub_socket, ("proto", "legacy"))]
    taken = await in_turn(
        targets,
        1 if quick else 4,
        lambda target: environment.read(target, *loads, runs=2 if quick else 4),
        warm_up=not quick,
    )
    title = f"State frames at full speed: 20 files, 125 KB, {count} frames a run, both shapes of files"
    return [_table(title, targets, taken, TO)]


def _table(
    title: str, targets: Sequence[Target], taken: Sequence[Sequence[Reading]], cpu_to: Sequence[str]
) -> Table:
    rate = by_name(targets, taken, lambda each: each.events / each.seconds)
    cpu = by_name(targets, taken, lambda each: each.cpu_us)
    rows = [
        [
            target.name,
            Stats.of(rate[target.name]),
            *(ratios(rate, target.name, to) for to in TO),
            Stats.of(cpu[target.name]),
            *(ratios(cpu, target.name, to) for to in cpu_to),
            Stats.of([each.postgres_us for each in some]) if target.through_hub else "-",
            Stats.of([each.total_events / each.messages for each in some]),
        ]
        for target, some in zip(targets, taken, strict=True)
    ]
    heads = ["", "events/s", *(f"÷ {to}" for to in TO), "CPU µs an event"]
    heads += [*(f"CPU ÷ {to}" for to in cpu_to), "PostgreSQL CPU µs", "events a message"]
    return Table(title, heads, rows)
