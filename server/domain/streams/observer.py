"""What readers do, for metrics."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

#: The transports of streams, and the forms of a WebSocket's messages.
TRANSPORTS, FORMS = ("websocket", "sse", "http", "grpc", "connect", "grpc-web"), ("legacy", "json", "proto")


class ReaderObserver(Protocol):
    """Observes readers. Every method is cheap."""

    def opened(self, form: str, thread_id: UUID) -> None:
        """A WebSocket with messages of a form was opened."""
        ...

    def closed(self, form: str, thread_id: UUID) -> None:
        """A WebSocket with messages of a form was closed."""
        ...

    def on_slow_reader(self, transport: str) -> None:
        """A reader's stream was closed because it took too little for too long."""
        ...
