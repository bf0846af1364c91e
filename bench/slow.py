"""`slow`: one of 20 followers never reads, and the others are compared with those of a run where all read."""

from __future__ import annotations

from bench.environment import Environment, in_turn
from bench.figures import Stats, Table
from bench.followers import Target
from bench.reading import PATIENCE_S, Reading

_FOLLOWERS = 20


async def measure_slow(environment: Environment, *, quick: bool) -> list[Table]:
    """State frames of 125 KB: more than the kernel holds for one that never reads. Raises NoFigure."""
    seconds, per_s = (1, 20.0) if quick else (10, 20.0)
    load = f"states-text-{int(seconds * per_s)}"
    targets = [
        *environment.relays("/fan/{thread}", only=("Go", "FastAPI", "Node ws", "Bun")),
        *map(environment.hub_socket, ("legacy", "proto")),
    ]

    async def both(target: Target) -> tuple[Reading, Reading]:
        """Without and with one that never reads."""
        return (
            await environment.read(target, load, followers=_FOLLOWERS - 1, frames_per_s=per_s),
            await environment.read(target, load, followers=_FOLLOWERS, frames_per_s=per_s, stuck=1),
        )

    taken = await in_turn(targets, 1 if quick else 3, both, warm_up=False)
    rows: list[list[str | Stats]] = [
        [
            target.name,
            Stats.of([float(stuck.cut_off) for _, stuck in some]),
            Stats.of([alone.late.p99_ms for alone, _ in some]),
            Stats.of([stuck.late.p99_ms for _, stuck in some]),
            Stats.of([stuck.late.p99_ms / alone.late.p99_ms for alone, stuck in some]),
            Stats.of([stuck.used.mib - alone.used.mib for alone, stuck in some]),
        ]
        for target, some in zip(targets, taken, strict=True)
    ]
    heads = ["", "others stalled", "p99 ms if all read", "p99 ms of the others", "ratio", "MiB more"]
    title = f"One of {_FOLLOWERS} followers never reads, {per_s:.0f} state frames of 125 KB a second"
    note = (
        f"Stalled: without the last frame {PATIENCE_S:.0f} s after it left. The hub closes a follower that "
        "takes nothing for 10 s."
    )
    return [Table(title, heads, rows, note)]
