"""Long computations of what people review: small ones in a thread, large ones in another process (ADR 0071).

The thread shares the interpreter with the event loop: while it computes, everybody's calls take longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

from server.domain.errors import Unprocessable
from server.domain.off_loop import OffLoop
from server.domain.worker import NotComputed, Worker, WorkerMissing

P = ParamSpec("P")
T = TypeVar("T")

#: Bytes from which on texts are large, and from which on they are huge: their computation waits for a process
#: that has to be started first, which takes most of a second.
LARGE_BYTES, HUGE_BYTES = 512 << 10, 4 << 20
#: Bytes for which a line counts besides its own: it takes as long as so many bytes that are compressed.
LINE_BYTES = 64


class Computations:
    """Where long computations run. worker: None for the thread alone."""

    def __init__(self, thread: OffLoop, worker: Worker | None = None) -> None:
        self._thread, self._worker = thread, worker

    async def run(
        self, texts: Iterable[bytes], function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The function's result; function and result as for `Worker.run` if there may be large texts.

        texts: those that it works on. Raises Unprocessable when it takes more than it may.
        """
        if self._worker is not None and _is_for(self._worker, texts):
            try:
                return await self._worker.run(function, *args, **kwargs)
            except WorkerMissing:
                pass
            except NotComputed:
                wrong = "are too large, or differ in too many places, to be compared or merged"
                raise Unprocessable({"files": wrong}) from None
        return await self._thread.run(function, *args, **kwargs)


def _is_for(worker: Worker, texts: Iterable[bytes]) -> bool:
    """Whether the worker computes what is made of the texts."""
    size = size_of(texts)
    # It is started for the next ones, too.
    return size > LARGE_BYTES and (worker.prepare() or size > HUGE_BYTES)


def size_of(texts: Iterable[bytes]) -> int:
    """About the bytes of the texts, with what their lines count for; of huge ones at least HUGE_BYTES. Takes
    some milliseconds at most."""
    size = 0
    for text in texts:
        size += len(text)
        if size <= HUGE_BYTES:
            size += LINE_BYTES * text.count(b"\n")
        if size > HUGE_BYTES:
            break
    return size
