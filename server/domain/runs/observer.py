"""What a drive takes from its runner, and what it tells: observations, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Protocol
from uuid import UUID

from server.domain.clock import Clock
from server.domain.journal.events import DiscontinuityReason, FrameReason, Outcome
from server.domain.journal.journal import EventCodec, Journal
from server.domain.runs.lease import Lease, Runs
from server.domain.runs.limits import RunLimits
from server.domain.runs.runtime import FrameInterpreter, Runtime


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

    def traceparent(self) -> str:
        """The trace that a run that is started now belongs to (W3C); empty for none."""
        return ""

    def driving(self, lease: Lease) -> AbstractContextManager[None]:
        """A run is driven under a lease while the context is open."""
        return nullcontext()

    def following(self, thread_id: UUID, traceparent: str) -> Callable[[], None]:
        """A reader begins to follow a run of a trace; called when it is gone."""
        return _nothing


def _nothing() -> None:
    """Nobody is to be told."""


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

    def traceparent(self) -> str:
        """What the first says that knows."""
        return next(filter(None, (each.traceparent() for each in self._observers)), "")

    @contextmanager
    def driving(self, lease: Lease) -> Iterator[None]:
        """Tell all."""
        with ExitStack() as stack:
            for each in self._observers:
                stack.enter_context(each.driving(lease))
            yield

    def following(self, thread_id: UUID, traceparent: str) -> Callable[[], None]:
        """Tell all."""
        enders = [each.following(thread_id, traceparent) for each in self._observers]

        def _gone() -> None:
            for end in enders:
                end()

        return _gone


class RunContext(Protocol):
    """What a drive takes from its runner."""

    runtime: Runtime
    journal: Journal
    runs: Runs
    codec: EventCodec
    clock: Clock
    on_progress: Callable[[UUID, str], None]
    limits: RunLimits
    observer: RunObserver
    interpreter: Callable[[], FrameInterpreter]


class Finished(Exception):
    """Carries the verdict out of the reading of the stream."""

    def __init__(self, outcome: Outcome, *, reason: str = "", message: str = "", delta: bytes = b"") -> None:
        super().__init__(reason)
        self.outcome, self.reason, self.message, self.delta = outcome, reason, message, delta
