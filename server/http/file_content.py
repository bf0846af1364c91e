"""A file's content as an answer: its bytes, or a range of them (RFC 9110 section 14)."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from functools import partial
from typing import Any
from uuid import UUID

from litestar import Response
from litestar.openapi import ResponseSpec

from server.domain.proposals.contents import PIECE_BYTES, ContentPiece, ContentStore, read_pieces
from server.http.dependencies import answer_reservation
from server.http.errors import range_not_satisfiable
from server.http.json_io import HubRequest
from server.http.methods import is_head
from server.http.openapi import header
from server.http.streamed_answers import StreamedAnswer
from server.use_cases import UseCases
from server.wire.etags import quoted

#: The headers and the answers of a route that sends a content, for the document.
CONTENT_HEADERS = [
    header("ETag", "The SHA-256 of the content, in quotes."),
    header("Accept-Ranges", "`bytes`: a part can be read with `Range`."),
    header("Content-Range", "Which bytes these are, and how many the content has; of a 206 alone."),
    header("Content-Disposition", "`attachment`: not for display."),
]
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
    request: HubRequest, use_cases: UseCases, store: ContentStore, holder_id: UUID, sha256: str
) -> Response[Any]:
    """The answer with a content of what holds files, or the range of it that the request asks for.

    sha256: in hex, also in upper case. Raises as `read_pieces`, LimitReached, and HttpError of 416.
    """
    sha256 = sha256.lower()
    read = partial(read_pieces, store, request.user, holder_id, sha256)
    pieces, etag = read(), quoted(sha256)
    reservation = answer_reservation(request, use_cases)
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
    size = first.size_bytes
    sent = range(size) if asked is None else asked
    headers = {
        "content-type": "application/octet-stream",
        "content-disposition": "attachment",
        "content-length": str(len(sent)),
        "accept-ranges": "bytes",
        "etag": etag,
    }
    if asked is not None:
        headers["content-range"] = f"bytes {asked.start}-{asked.stop - 1}/{size}"
    body = _until(sent.stop, first, pieces)
    return StreamedAnswer(body, reservation, headers, status=200 if asked is None else 206)


async def _until(
    end: int, first: ContentPiece, rest: AsyncIterator[ContentPiece]
) -> AsyncGenerator[bytes, None]:
    """The bytes of the pieces before the offset `end`. first: the first piece; `rest` gives those that follow
    it."""
    piece: ContentPiece | None = first
    while piece is not None:
        yield piece.data[: end - piece.offset]
        if piece.end >= end:
            return
        piece = await anext(rest, None)
