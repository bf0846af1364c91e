"""A connection whose owner may handle what comes as it comes.

asyncio's reader keeps what comes, and wakes the task that waits for it: a future and a turn of the event loop
for a few bytes, at the pace of models for each frame of each run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from typing_extensions import override


class EagerReader(asyncio.StreamReader):
    """A reader that offers what comes to `on_data` first."""

    #: Set while the owner waits in `read`. Returns whether it has handled all of the bytes; otherwise `read`
    #: returns them. What it raises, `read` raises.
    on_data: Callable[[bytes], bool] | None = None

    @override
    def feed_data(self, data: Any) -> None:
        try:
            if self.on_data is not None and self.on_data(data):
                return
        except Exception as error:
            self.set_exception(error)
            return
        super().feed_data(data)


class _EagerProtocol(asyncio.StreamReaderProtocol):
    """Gives what comes to its reader, which asyncio's asks a weak reference for each time."""

    def __init__(self, reader: EagerReader, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(reader, loop=loop)
        self._eager = reader

    @override
    def data_received(self, data: bytes) -> None:
        self._eager.feed_data(data)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        del self._eager


async def open_eager_connection(
    host: str, port: int, *, limit: int, **more: Any
) -> tuple[EagerReader, asyncio.StreamWriter]:
    """As `asyncio.open_connection`. Raises OSError."""
    loop = asyncio.get_running_loop()
    reader = EagerReader(limit=limit, loop=loop)
    protocol = _EagerProtocol(reader, loop)
    transport, _ = await loop.create_connection(lambda: protocol, host, port, **more)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
