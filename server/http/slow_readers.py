"""What becomes of a client of the HTTP port that takes too little for too long (`SlowReader`)."""

from __future__ import annotations

from server.domain.streams.observer import ReaderObserver
from server.http.connection import Connection
from server.http.errors import log


def note_slow_reader(
    readers: ReaderObserver, transport: str, *, event: str = "slow_reader", **ids: str
) -> None:
    """Log and count a slow reader. transport: one of TRANSPORTS. ids: what it read."""
    log.info(event, **ids)
    readers.on_slow_reader(transport)


def reset_slow_reader(connection: Connection, readers: ReaderObserver, transport: str, **ids: str) -> None:
    """Log, count and reset the connection of a slow reader. The arguments are those of `note_slow_reader`."""
    note_slow_reader(readers, transport, **ids)
    connection.abort()
