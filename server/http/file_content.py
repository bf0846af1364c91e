"""A file's content as an answer: its bytes, or a range of them (RFC 9110 section 14)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from litestar import Response
from litestar.openapi import ResponseSpec
from litestar.types import Receive, Scope, Send

from server.domain.outgoing import WAIT_S, Reservation
from server.domain.proposals.contents import PIECE_BYTES, ContentPiece
from server.http.connection import ClientGone, Pace, connection_of
from server.http.errors import log, place_of, range_not_satisfiable
from server.http.json_io import HubRequest
from server.http.methods import is_head
from server.http.pieces import send_pieces
from server.use_cases import UseCases
from server.wire.etags import quoted

#: The answers of a route that sends a content, for the document.
CONTENT_RESPONSES = {
    status: ResponseSpec(
        bytes, description=text, media_type="application/octet-stream", generate_examples=False
    )
    for status, text in (
        (200, "The bytes of the content"),
        (206, "The bytes that `Range` asks for: one range"),
    )
}

#: One range of bytes: from a first to a last, from a first to the end, or so many at the end.
_RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{1,18})?|-([0-9]{1,18}))", re.ASCII)


def byte_range(headers: Mapping[str, str], size: int, etag: str) -> range | None:
    """The bytes that a request asks for; None for all of them.

    A header of several ranges or another unit counts as none, and so does one for another content
    (`If-Range`). Raises HttpError of 416 for a range that is outside the content.
    """
    found = _RANGE.fullmatch(headers.get("range", "").strip())
    if found is None or headers.get("if-range", etag) != etag:
        return None
    first, last, suffix = (None if group is None else int(group) for group in found.groups())
    if first is None:
        asked = range(max(size - (suffix or 0), 0), size)
    elif last is not None and last < first:
        return None
    else:
        asked = range(first, size if last is None else min(last + 1, size))
    if not asked:
        raise range_not_satisfiable(size)
    return asked


async def content_answer(
    request: HubRequest,
    use_cases: UseCases,
    read: Callable[..., AsyncIterator[ContentPiece]],
    sha256: str,
) -> Response[Any]:
    """The answer with a content, or the range of it that the request asks for.

    read: gives the pieces, from `offset` on. Raises what it raises, LimitReached, and HttpError of 416.
    """
    pieces, etag = read(), quoted(sha256)
    reservation = Reservation(use_cases.outgoing, request.user.memory_id, wait_s=WAIT_S)
    try:
        await reservation.resize(PIECE_BYTES)
        first = await anext(pieces)
        # A range is one of a GET (RFC 9110 section 14.2).
        asked = None if is_head(request.scope) else byte_range(request.headers, first.size_bytes, etag)
        if asked is not None and asked.start:
            pieces = read(offset=asked.start)
            first = await anext(pieces)
    except BaseException:
        reservation.close()
        raise
    return FileContent(first, pieces, reservation, etag=etag, asked=asked)


class FileContent(Response[None]):
    """Sends pieces as they are read. first: the first of the content's bytes that are asked for; `rest`
    gives those that follow it."""

    def __init__(
        self,
        first: ContentPiece,
        rest: AsyncIterator[ContentPiece],
        reservation: Reservation,
        *,
        etag: str,
        asked: range | None,
    ) -> None:
        super().__init__(None)
        self._first, self._rest, self._reservation = first, rest, reservation
        self._etag, self._asked = etag, asked

    def to_asgi_response(self, *args: Any, **kwargs: Any) -> Any:
        """The ASGI application that sends it."""
        return self._send

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = self._first.size_bytes
        asked = range(size) if self._asked is None else self._asked
        headers = {
            "content-type": "application/octet-stream",
            "content-disposition": "attachment",
            "content-length": str(len(asked)),
            "accept-ranges": "bytes",
            "etag": self._etag,
        }
        if self._asked is not None:
            headers["content-range"] = f"bytes {asked.start}-{asked.stop - 1}/{size}"
        status = 200 if self._asked is None else 206
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": encoded})
        connection_of(scope).reservation = self._reservation  # type: ignore[arg-type]
        try:
            if is_head(scope):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            else:
                await self._send_pieces(asked.stop, scope, send)
        except (ClientGone, OSError):
            connection_of(scope).abort()  # type: ignore[arg-type]
        except Exception as error:
            log.error("file_content_failed", error=type(error).__name__, where=place_of(error))
            # Aborted, so that the client does not take this for the end of the content.
            connection_of(scope).abort()  # type: ignore[arg-type]
        finally:
            self._reservation.close()

    async def _send_pieces(self, end: int, scope: Scope, send: Send) -> None:
        connection = connection_of(scope)  # type: ignore[arg-type]
        pace = Pace(connection)
        piece: ContentPiece | None = self._first
        while piece is not None:
            await send_pieces(piece.data[: end - piece.offset], send, connection, pace)
            if piece.end >= end or isinstance(connection.ended, ClientGone):
                break
            piece = await anext(self._rest, None)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
