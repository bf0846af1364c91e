"""Measurement C: one run, followed live by more and more readers of the same WebSocket form."""

from __future__ import annotations

from bench.environment import Environment
from bench.figures import Stats, Table

#: Slow enough that every reader is there for most of the run: 20 frames a second by this.
DIRECTIVE = "long_run speed=30"
TARGETS = ("hub ideo.v1", "hub gRPC")


async def measure_fanout(environment: Environment, readers: list[int], directive: str = DIRECTIVE) -> Table:
    """A row for each number of readers. Raises NoFigure."""
    rows: list[list[str | Stats]] = []
    for target in TARGETS:
        for count in readers:
            before = environment.cpu_of(target)
            reading = await environment.read(target, directive, readers=count)
            cpu = environment.cpu_of(target) - before
            rows.append(
                [
                    target,
                    str(count),
                    f"{reading.events:,}",
                    f"{cpu:.2f}",
                    f"{cpu / reading.events * 1e6:.1f}",
                    f"{reading.events / reading.messages:.1f}",
                ]
            )
    return Table(
        f"C. One run at {directive.partition('speed=')[2] or 'full'} times its pace to many readers",
        ["target", "readers", "events delivered", "hub CPU s", "hub CPU µs/event", "events/message"],
        rows,
    )
