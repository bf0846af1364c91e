"""Long computations of what people review: small ones in a thread, large ones in another process (ADR 0071).

The thread shares the interpreter with the event loop: while it computes, everybody's calls take longer. The
way to the process and back takes some milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

from server.domain.errors import Unprocessable
from server.domain.off_loop import OffLoop
from server.domain.worker import NotComputed, Worker, WorkerMissing

P = ParamSpec("P")
T = TypeVar("T")

#: Bytes of texts from which on a computation is large, and bytes for which each line counts besides its own:
#: it takes as long as so many bytes that are compressed.
LARGE_BYTES, LINE_BYTES = 512 << 10, 64


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
        if self._worker is not None and is_large(texts):
            try:
                return await self._worker.run(function, *args, **kwargs)
            except WorkerMissing:
                pass
            except NotComputed:
                wrong = "are too large, or differ in too many places, to be compared"
                raise Unprocessable({"files": wrong}) from None
        return await self._thread.run(function, *args, **kwargs)


def is_large(texts: Iterable[bytes]) -> bool:
    """Whether a computation on these texts is large. Takes a millisecond at most."""
    left = LARGE_BYTES
    for text in texts:
        left -= len(text)
        if left >= 0:
            left -= LINE_BYTES * text.count(b"\n")
        if left < 0:
            return True
    return False
