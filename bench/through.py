"""Measurement A: from the runtime through the hub to one reader, beside the proxy, in one run.

The targets are read in turn, round by round, so that what the machine does meanwhile meets all alike;
a ratio compares figures of the same round. The first round warms up and does not count.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from bench.environment import Environment
from bench.figures import Stats, Table
from bench.readers import TARGETS

PEER = "proxy"


@dataclass(frozen=True, slots=True)
class Load:
    """`runs` runs of a recording, `at_once` at a time."""

    name: str
    recording: str
    runs: int
    at_once: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One target in one round. CPU in seconds per 100,000 events."""

    events_per_s: float
    cpu_s: float
    postgres_cpu_s: float
    events_per_message: float


async def sample(environment: Environment, target: str, load: Load) -> Sample:
    """Read once. Raises NoFigure."""
    cpu, postgres = environment.cpu_of(target), environment.postgres_cpu()
    reading = await environment.read(target, load.recording, runs=load.runs, at_once=load.at_once)
    per = 100_000 / reading.events
    return Sample(
        reading.events / reading.seconds,
        (environment.cpu_of(target) - cpu) * per,
        (environment.postgres_cpu() - postgres) * per,
        reading.events / reading.messages,
    )


async def measure_through(environment: Environment, loads: list[Load], rounds: int) -> list[Table]:
    """A table for each load. Raises NoFigure."""
    names = list(TARGETS)
    samples: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for number in range(rounds + 1):
        for load in loads:
            # Another one begins each round.
            for target in names[number % len(names) :] + names[: number % len(names)]:
                taken = await sample(environment, target, load)
                if number:
                    samples[load.name, target].append(taken)
    return [_table(load, {target: samples[load.name, target] for target in names}) for load in loads]


def _table(load: Load, samples: dict[str, list[Sample]]) -> Table:
    peer = samples[PEER]
    rows: list[list[str | Stats]] = []
    for target, taken in samples.items():
        # A short load may take the peer less CPU than the system's clock can tell: then no ratio.
        ratios = [s.cpu_s / p.cpu_s for s, p in zip(taken, peer, strict=True) if p.cpu_s]
        rows.append(
            [
                target,
                Stats.of([s.events_per_s for s in taken]),
                Stats.of([s.events_per_s / p.events_per_s for s, p in zip(taken, peer, strict=True)]),
                Stats.of([s.cpu_s for s in taken]),
                Stats.of(ratios) if ratios else "-",
                Stats.of([s.postgres_cpu_s for s in taken]) if target != PEER else "-",
                Stats.of([s.events_per_message for s in taken]),
            ]
        )
    return Table(
        f"A. Runtime to one reader, {load.name}",
        ["target", "events/s", "÷ proxy", "CPU s/100k", "÷ proxy", "PostgreSQL CPU s/100k", "events/message"],
        rows,
    )
