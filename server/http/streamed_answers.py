"""Answers whose bytes are read while they are sent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from litestar import Response
from litestar.types import Receive, Scope, Send

from server.domain.fair_budget import Reservation
from server.http.connection import ClientGone, Pace, connection_of
from server.http.errors import log, place_of
from server.http.methods import is_head
from server.http.response_body import send_pieces


class StreamedAnswer(Response[None]):
    """Sends pieces as they are read.

    An error after the first byte resets the connection, so that the client does not take what it has for
    everything. headers: with `content-length` if the size is known. The reservation is released at the end.
    """

    def __init__(
        self,
        body: AsyncGenerator[bytes, None],
        reservation: Reservation,
        headers: Mapping[str, str],
        *,
        status: int = 200,
    ) -> None:
        super().__init__(None)
        self._body, self._reservation = body, reservation
        self._headers, self._status = headers, status

    def to_asgi_response(self, *args: Any, **kwargs: Any) -> Any:
        """The ASGI application that sends it."""
        return self._send

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(self._headers)
        if "content-length" not in headers:
            headers["transfer-encoding"] = "chunked"
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": self._status, "headers": encoded})
        connection_of(scope).reservation = self._reservation  # type: ignore[arg-type]
        try:
            async with aclosing(self._body) as body:
                if not is_head(scope):
                    await self._send_body(body, scope, send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (ClientGone, OSError):
            connection_of(scope).abort()  # type: ignore[arg-type]
        except Exception as error:
            log.error("streamed_answer_failed", error=type(error).__name__, where=place_of(error))
            connection_of(scope).abort()  # type: ignore[arg-type]
        finally:
            self._reservation.close()

    @staticmethod
    async def _send_body(body: AsyncGenerator[bytes, None], scope: Scope, send: Send) -> None:
        connection = connection_of(scope)  # type: ignore[arg-type]
        pace = Pace(connection)
        async for piece in body:
            await send_pieces(piece, send, connection, pace)
            if isinstance(connection.ended, ClientGone):
                return
