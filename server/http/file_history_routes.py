"""A refinement's files as they were after any of its events: list, read a content, blame."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from server.domain.fair_budget import Reservation
from server.domain.file_history.file_history import Blame
from server.domain.off_loop import REQUESTS
from server.http.dependencies import Cases, query_dependency
from server.http.file_content import CONTENT_HEADERS, CONTENT_RESPONSES, content_answer
from server.http.json_io import HubRequest, JsonResponse
from server.http.large_answers import JsonText, LargeAnswer
from server.http.lists import LINK, list_text
from server.http.openapi import operation
from server.wire.file_history import BlameQuery, FileAtPage, FileBlame, FilesAtQuery
from server.wire.text import dumps


@get(
    "/api/refinements/{thread_id:str}/files",
    **operation(
        "listFilesAt",
        "refinements",
        (400, 404, 410, 429),
        response_description="A page of files",
        dependencies=query_dependency(FilesAtQuery),
        response_headers=[LINK],
    ),
)
async def list_files_at(
    request: HubRequest, use_cases: Cases, thread_id: FromPath[UUID], params: NamedDependency[FilesAtQuery]
) -> JsonResponse[FileAtPage]:
    """The files of a refinement as they were after an event, without their contents."""
    seq, offset = params.place()

    async def read(reservation: Reservation) -> JsonText:
        page = await use_cases.file_history.files_at(
            request.user,
            thread_id,
            seq,
            path=params.path or None,
            offset=offset,
            limit=params.size,
            reservation=reservation,
        )
        return list_text(request, FileAtPage.of(page))

    return LargeAnswer(request, use_cases, read)


@get(
    "/api/refinements/{thread_id:str}/files/{sha256:str}",
    **operation(
        "readRefinementFile",
        "refinements",
        (404, 410, 416, 429),
        response_headers=CONTENT_HEADERS,
        responses=CONTENT_RESPONSES,
    ),
)
async def read_refinement_file(
    request: HubRequest, use_cases: Cases, thread_id: FromPath[UUID], sha256: FromPath[str]
) -> Response[Any]:
    """The content that a file of the refinement had after any event, by its SHA-256."""
    return await content_answer(request, use_cases, use_cases.file_history, thread_id, sha256)


@get(
    "/api/refinements/{thread_id:str}/blame",
    **operation(
        "blameFile",
        "refinements",
        (400, 404, 410, 422, 429),
        response_description="The lines, by the events that wrote them",
        dependencies=query_dependency(BlameQuery),
    ),
)
async def blame_file(
    request: HubRequest, use_cases: Cases, thread_id: FromPath[UUID], params: NamedDependency[BlameQuery]
) -> JsonResponse[FileBlame]:
    """Which events wrote the lines of a text file as it was after an event."""

    async def read(reservation: Reservation) -> JsonText:
        blame = await use_cases.file_history.blame(
            request.user,
            thread_id,
            params.path,
            params.seq,
            lines_before=params.lines_before,
            reservation=reservation,
        )
        return JsonText(await REQUESTS.run(_blame_text, blame))

    return LargeAnswer(request, use_cases, read)


def _blame_text(blame: Blame) -> bytes:
    return dumps(FileBlame.of(blame))


FILE_HISTORY_ROUTES = [list_files_at, read_refinement_file, blame_file]
