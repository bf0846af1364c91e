"""Observers of runs, for logs, metrics and traces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Concatenate, ParamSpec
from uuid import UUID

from server.domain.journal.events import DiscontinuityReason, FrameReason, Outcome
from server.domain.runs.lease import Lease

P = ParamSpec("P")


class RunObserver:
    """Called when something happens to a run. Every method may be left as it is here."""

    def finished(self, lease: Lease, outcome: Outcome, reason: str, seconds: float) -> None:
        """A run reached its terminal status, `seconds` after it was started."""

    def lost_upstream(self, lease: Lease, why: str) -> None:
        """The connection to the runtime broke; it will be tried again."""

    def taken_over(self, lease: Lease) -> None:
        """A run was taken over from a replica that released it or died."""

    def dequeued(self, lease: Lease) -> None:
        """A queued run begins."""

    def faulted(self, lease: Lease, fault: BaseException) -> None:
        """A fault of the hub ended the run, or cost it a release from quarantine or the note of its base."""

    def discontinued(self, lease: Lease, reason: DiscontinuityReason) -> None:
        """Frames of the runtime may be missing here."""

    def uninterpreted(self, lease: Lease, reason: FrameReason) -> None:
        """A frame of the runtime was kept as it came."""

    def traceparent(self) -> str:
        """The trace (W3C) of a run that is started now; empty for none."""
        return ""

    def driving(self, lease: Lease) -> AbstractContextManager[None]:
        """A run is driven under a lease while the context is open."""
        return nullcontext()

    def following(self, thread_id: UUID, traceparent: str) -> Callable[[], None]:
        """A reader begins to follow a run of a trace. Returns what to call when the reader is gone."""
        return lambda: None


def _each(
    method: Callable[Concatenate[RunObserver, P], None],
) -> Callable[Concatenate[RunObservers, P], None]:
    """The method that calls `method` of each observer."""

    def call(self: RunObservers, /, *args: P.args, **kwargs: P.kwargs) -> None:
        for observer in self.observers:
            getattr(observer, method.__name__)(*args, **kwargs)

    return call


class RunObservers(RunObserver):
    """Several observers as one, called in their order."""

    def __init__(self, *observers: RunObserver) -> None:
        self.observers = observers

    finished = _each(RunObserver.finished)
    lost_upstream = _each(RunObserver.lost_upstream)
    taken_over = _each(RunObserver.taken_over)
    dequeued = _each(RunObserver.dequeued)
    faulted = _each(RunObserver.faulted)
    discontinued = _each(RunObserver.discontinued)
    uninterpreted = _each(RunObserver.uninterpreted)

    def traceparent(self) -> str:
        """The answer of the first observer that has one."""
        return next(filter(None, (each.traceparent() for each in self.observers)), "")

    @contextmanager
    def driving(self, lease: Lease) -> Iterator[None]:
        """The contexts of all observers."""
        with ExitStack() as stack:
            for observer in self.observers:
                stack.enter_context(observer.driving(lease))
            yield

    def following(self, thread_id: UUID, traceparent: str) -> Callable[[], None]:
        """Returns what calls back all observers."""
        ends = [observer.following(thread_id, traceparent) for observer in self.observers]

        def end_all() -> None:
            for end in ends:
                end()

        return end_all
