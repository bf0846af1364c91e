"""The port to a process that computes for the hub, so that the hub's own goes on (ADR 0071)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class WorkerMissing(Exception):
    """The process could not be started."""


class NotComputed(Exception):
    """The computation took more than it may, or the process ended during it, again and again."""


class Worker(Protocol):
    """A process that computes one thing at a time. Those for whom it computes take turns."""

    def prepare(self) -> bool:
        """Whether the process is there. If not, it is started, which takes most of a second."""
        ...

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result, or its error. The function is one of a module's, or a `partial` of one; it,
        its arguments and its result can be pickled. The result is small, or bytes: making objects of it takes
        the hub's own time.

        When the call is cancelled, a function that has not begun does not run, and one that has is ended.
        Raises WorkerMissing, NotComputed.
        """
        ...
