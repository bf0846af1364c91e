"""How many streams may be open that need no token: those of health and, in development, of reflection."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Hashable, Iterator

from server.domain.access.cut_offs import PUBLIC_STREAMS, CutOffObserver
from server.domain.errors import LimitReached

#: Streams of all connections, and of one. A client watches the health of one service on each connection.
MAX_STREAMS, MAX_STREAMS_OF_ONE = 1_000, 20
RETRY_S = 5


class PublicStreams:
    """The open ones of this replica: they leave enough of its calls to callers with a token."""

    def __init__(self, observer: CutOffObserver) -> None:
        self._observer = observer
        self._open: Counter[Hashable] = Counter()

    @contextlib.contextmanager
    def place(self, connection: Hashable) -> Iterator[None]:
        """Count a stream of a connection until the block ends. Raises LimitReached."""
        if self._open.total() >= MAX_STREAMS or self._open[connection] >= MAX_STREAMS_OF_ONE:
            self._observer.on_cut_off(PUBLIC_STREAMS)
            raise LimitReached("too many streams without a token are open", retry_after_s=RETRY_S)
        self._open[connection] += 1
        try:
            yield
        finally:
            self._open[connection] -= 1
            if not self._open[connection]:
                del self._open[connection]
