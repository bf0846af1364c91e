"""A rule: a promise of the hub's interfaces, and what tries it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ide_orchestrator.conformance.scenario import Scenario


@dataclass(frozen=True)
class Rule:
    """One promise.

    name: `GROUP.WAY`. says: the promise, as a sentence without its full stop. check: raises Broken when the
    hub breaks it, Skipped when it cannot be tried. grpc: it needs the gRPC address. run: it needs the
    refinement. live: the way in which the refinement is to be followed while it runs.
    """

    name: str
    says: str
    check: Callable[[Scenario], Awaitable[None]]
    grpc: bool = False
    run: bool = True
    live: str = ""

    @property
    def group(self) -> str:
        """The name's first part."""
        return self.name.partition(".")[0]
