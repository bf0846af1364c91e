"""`pace`: the pace of models: 50 runs of 20 frames a second, a follower each, beside the peers.

A frame wakes every process there, so that the kernel costs the most. `direct` is the runtime without anything
between: what a server adds to its latency is its own.
"""

from __future__ import annotations

from bench.environment import Environment, by_name, in_turn
from bench.figures import Stats, Table, differences, ratios


async def measure_pace(environment: Environment, *, quick: bool) -> list[Table]:
    """CPU and latency. Raises NoFigure."""
    seconds, runs, per_s = (1, 10, 20) if quick else (10, 50, 20)
    targets = [
        environment.direct(),
        *environment.relays(),
        *map(environment.hub_socket, ("proto", "legacy")),
        environment.hub_grpc(),
    ]
    load = f"tokens-{seconds * per_s}"
    taken = await in_turn(
        targets,
        1 if quick else 4,
        lambda target: environment.read(target, load, runs=runs, frames_per_s=float(per_s)),
        warm_up=False,
    )
    cpu = by_name(targets, taken, lambda each: each.cpu_us)
    p50 = by_name(targets, taken, lambda each: each.late.p50_ms)
    rows = [
        [
            target.name,
            Stats.of(cpu[target.name]) if target.pid else "-",
            *(ratios(cpu, target.name, to) if target.pid else "-" for to in ("nginx", "Go")),
            Stats.of([each.postgres_us for each in some]) if target.through_hub else "-",
            Stats.of(p50[target.name]),
            differences(p50, target.name, "direct"),
            Stats.of([each.late.p99_ms for each in some]),
        ]
        for target, some in zip(targets, taken, strict=True)
    ]
    heads = [
        "",
        "CPU µs an event",
        "÷ nginx",
        "÷ Go",
        "PostgreSQL CPU µs",
        "p50 ms",
        "added p50 ms",
        "p99 ms",
    ]
    return [
        Table(f"The pace of models: {runs} runs of {per_s} frames a second, a follower each", heads, rows)
    ]
