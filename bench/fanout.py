"""One run and many followers, beside the peers: `backlog` at full speed, `live` at ten frames a second."""

from __future__ import annotations

from bench.environment import Environment, by_name, in_turn
from bench.figures import Stats, Table, ratios
from bench.followers import Target

TO = ("Go", "Bun")


def _targets(environment: Environment) -> list[Target]:
    """FastAPI sends to one after another, and takes long at full speed."""
    peers = environment.relays("/fan/{thread}", only=("nginx", "Go", "Node ws", "Bun"))
    return [*peers, environment.hub_socket("proto"), environment.hub_socket("legacy")]


async def measure_backlog(environment: Environment, *, quick: bool) -> list[Table]:
    """All followers are connected, then the run's frames come at once. Raises NoFigure."""
    followers, frames = (50, 100) if quick else (1000, 300)
    title = f"One run of {frames} tokens at full speed to {followers:,} followers"
    return [await _table(environment, title, followers, f"tokens-{frames}", None, quick=quick)]


async def measure_live(environment: Environment, *, quick: bool) -> list[Table]:
    """The same at a pace. Raises NoFigure."""
    followers, frames = (50, 10) if quick else (1000, 100)
    title = f"One run at 10 frames a second to {followers:,} followers"
    return [await _table(environment, title, followers, f"tokens-{frames}", 10.0, quick=quick)]


async def _table(
    environment: Environment,
    title: str,
    followers: int,
    load: str,
    frames_per_s: float | None,
    *,
    quick: bool,
) -> Table:
    targets = _targets(environment)
    taken = await in_turn(
        targets,
        1 if quick else 4,
        lambda target: environment.read(target, load, followers=followers, frames_per_s=frames_per_s),
        warm_up=False,
    )
    cpu = by_name(targets, taken, lambda each: each.cpu_us)
    rows = [
        [
            target.name,
            Stats.of([each.events / each.seconds for each in some]),
            Stats.of(cpu[target.name]),
            *(ratios(cpu, target.name, to) for to in TO),
            *(
                [Stats.of([each.late.p50_ms for each in some]), Stats.of([each.late.p99_ms for each in some])]
                if frames_per_s
                else []
            ),
        ]
        for target, some in zip(targets, taken, strict=True)
    ]
    heads = ["", "deliveries/s", "CPU µs a delivery", *(f"CPU ÷ {to}" for to in TO)]
    return Table(title, heads + (["p50 ms", "p99 ms"] if frames_per_s else []), rows)
