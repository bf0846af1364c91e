"""What a drive takes from its runner, and what it tells: observations, and the verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from server.domain.events import DiscontinuityReason, FrameReason, Outcome
from server.domain.follow import Tails
from server.domain.limits import RunLimits
from server.domain.ports import Clock, EventCodec, Journal, Lease, Runs
from server.domain.upstream import FrameInterpreter, Runtime


class RunObserver:
    """Told what happens to runs, for logs and metrics. Every method may do nothing."""

    def finished(self, lease: Lease, outcome: Outcome, reason: str, seconds: float) -> None:
        """A run reached its terminal status, `seconds` after it was started."""

    def lost_upstream(self, lease: Lease, why: str) -> None:
        """The connection to the runtime broke; it will be tried again."""

    def taken(self, lease: Lease) -> None:
        """A run was taken over from a replica that let go of it or died."""

    def faulted(self, lease: Lease, fault: BaseException) -> None:
        """A fault of the hub ended the run."""

    def discontinued(self, lease: Lease, reason: DiscontinuityReason) -> None:
        """Frames of the runtime may be missing here."""

    def uninterpreted(self, lease: Lease, reason: FrameReason) -> None:
        """A frame of the runtime was kept as it came."""


class RunObservers(RunObserver):
    """Several observers, told one after the other."""

    def __init__(self, *observers: RunObserver) -> None:
        self._observers = observers

    def finished(self, lease: Lease, outcome: Outcome, reason: str, seconds: float) -> None:
        """Tell all."""
        for each in self._observers:
            each.finished(lease, outcome, reason, seconds)

    def lost_upstream(self, lease: Lease, why: str) -> None:
        """Tell all."""
        for each in self._observers:
            each.lost_upstream(lease, why)

    def taken(self, lease: Lease) -> None:
        """Tell all."""
        for each in self._observers:
            each.taken(lease)

    def faulted(self, lease: Lease, fault: BaseException) -> None:
        """Tell all."""
        for each in self._observers:
            each.faulted(lease, fault)

    def discontinued(self, lease: Lease, reason: DiscontinuityReason) -> None:
        """Tell all."""
        for each in self._observers:
            each.discontinued(lease, reason)

    def uninterpreted(self, lease: Lease, reason: FrameReason) -> None:
        """Tell all."""
        for each in self._observers:
            each.uninterpreted(lease, reason)


class Host(Protocol):
    """What a drive takes from its runner."""

    runtime: Runtime
    journal: Journal
    runs: Runs
    codec: EventCodec
    clock: Clock
    tails: Tails
    limits: RunLimits
    observer: RunObserver
    interpreter: Callable[[], FrameInterpreter]


class Finished(Exception):
    """Carries the verdict out of the reading of the stream."""

    def __init__(
        self, outcome: Outcome, *, reason: str = "", message: str = "", residue: bytes = b""
    ) -> None:
        super().__init__(reason)
        self.outcome, self.reason, self.message, self.residue = outcome, reason, message, residue
