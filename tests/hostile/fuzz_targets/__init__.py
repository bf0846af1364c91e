"""The readers of hostile bytes that are fuzzed, by name."""

from __future__ import annotations

from tests.hostile.fuzz_targets import content, heads, requests, rights, runtime, runtime_socket
from tests.hostile.fuzz_targets.target import MAX_INPUT, Target

__all__ = ["MAX_INPUT", "TARGETS"]

TARGETS: dict[str, Target] = {
    name: target
    for module in (runtime, runtime_socket, heads, requests, content, rights)
    for name, target in module.TARGETS.items()
}
