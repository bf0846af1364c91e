"""Answers with a zip archive, which is made while it is sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Response
from litestar.openapi import ResponseSpec

from server.domain.fair_budget import Reservation
from server.domain.proposals.archive import ArchivedFiles, archive_pieces
from server.domain.proposals.contents import PIECE_BYTES, ArchivedStore
from server.http.dependencies import answer_reservation
from server.http.json_io import HubRequest
from server.http.openapi import header
from server.http.streamed_answers import StreamedAnswer
from server.use_cases import UseCases

ARCHIVE_HEADERS = [header("Content-Disposition", "The name of the file.")]
#: The responses of a route that sends an archive, for the OpenAPI document.
ARCHIVE_RESPONSES = {
    200: ResponseSpec(bytes, description="The archive", media_type="application/zip", generate_examples=False)
}


async def archive_answer(
    request: HubRequest,
    use_cases: UseCases,
    store: ArchivedStore,
    read: Callable[[Reservation], Awaitable[tuple[ArchivedFiles, str]]],
) -> Response[Any]:
    """The answer with an archive. read: returns its files, and its name without the extension. Raises as
    `read`, and LimitReached."""
    reservation = answer_reservation(request, use_cases)
    try:
        files, name = await read(reservation)
        await reservation.resize(files.size_bytes + 2 * PIECE_BYTES)
    except BaseException:
        reservation.close()
        raise
    headers = {
        "content-type": "application/zip",
        "content-disposition": f'attachment; filename="{name}.zip"',
    }
    return StreamedAnswer(archive_pieces(store, request.user, files), reservation, headers)
