"""Whether a replica can serve, as probes ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Readiness:
    """The names of the checks that fail: with any, the replica cannot serve. degraded: what it cannot do
    while it serves everything else, which no other replica can do either."""

    failing: Sequence[str] = ()
    degraded: Sequence[str] = ()
