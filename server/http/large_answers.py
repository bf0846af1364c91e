"""JSON answers that may be large: read once there is room for them, and sent in pieces under a deadline."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

from litestar.types import Receive, Scope, Send

from server.domain.access.on_behalf_of import on_behalf_of
from server.domain.fair_budget import Reservation
from server.http.connection import ClientGone, Pace, SlowReader, connection_of
from server.http.dependencies import answer_reservation
from server.http.json_io import HubRequest, JsonResponse
from server.http.methods import is_head
from server.http.response_body import joined, send_pieces
from server.http.slow_readers import reset_slow_reader
from server.use_cases import ANSWER_TURN_BYTES, UseCases

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class JsonText:
    """JSON text as one, or in parts that are made as they are asked for; and the answer's other headers.

    text: None for an answer without a body, whose status says so.
    """

    text: bytes | Iterable[bytes] | None
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200


class LargeAnswer(JsonResponse[T]):
    """Reads what it sends when it is sent, so that an error before the first byte is answered as a problem.

    read: makes the answer; raises LimitReached when there is no room. Its reservation is released once the
    answer is sent. waits: `read` waits for events, which it no longer does when the client is gone or the
    server stops.
    """

    def __init__(
        self,
        request: HubRequest,
        use_cases: UseCases,
        read: Callable[[Reservation], Awaitable[JsonText]],
        *,
        waits: bool = False,
    ) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self._waits = waits
        self._reservation = answer_reservation(request, use_cases)
        self._readers, self._read = use_cases.readers, read
        self._turns = use_cases.answer_turns

    def to_asgi_response(self, *args: Any, **kwargs: Any) -> Any:
        """The ASGI application that sends it."""
        return self._send

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = connection_of(scope)  # type: ignore[arg-type]
        connection.reservation = self._reservation
        try:
            with self._reservation:
                with connection.streaming() if self._waits else nullcontext():
                    answer = await self._read(self._reservation)
                await self._send_text(answer, scope, send)
        except SlowReader:
            reset_slow_reader(connection, self._readers, "http")
        except (ClientGone, OSError):
            connection.abort()

    async def _send_text(self, answer: JsonText, scope: Scope, send: Send) -> None:
        connection = connection_of(scope)  # type: ignore[arg-type]
        text = answer.text
        headers = {"content-type": "application/json", **answer.headers}
        if text is None:
            del headers["content-type"]
        elif isinstance(text, bytes):
            headers["content-length"] = str(len(text))
        else:
            headers["transfer-encoding"] = "chunked"
        encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
        if text is not None and not is_head(scope):
            pace = Pace(connection)
            for part in joined([text] if isinstance(text, bytes) else text, ANSWER_TURN_BYTES):
                # Thousands of small files take as long to write as megabytes of large ones.
                await self._turns.take(on_behalf_of.get(), len(part))
                await send_pieces(part, send, connection, pace)
                if isinstance(connection.ended, ClientGone):
                    return
        await send({"type": "http.response.body", "body": b"", "more_body": False})
