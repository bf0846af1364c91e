"""Drafts: read, change, list the versions, restore one; the contents of their files, one by one or as an
archive."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Response, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from server.domain.drafts.draft import sizes_of, text_paths
from server.domain.drafts.drafts import WrittenDraft
from server.domain.fair_budget import Reservation
from server.domain.off_loop import REQUESTS
from server.domain.proposals.archive import ArchivedFiles
from server.http.archive_answers import ARCHIVE_HEADERS, ARCHIVE_RESPONSES, archive_answer
from server.http.dependencies import Cases, query_dependency
from server.http.file_content import CONTENT_HEADERS, CONTENT_RESPONSES, content_answer
from server.http.json_io import MAX_BODY_BYTES, MAX_WORKFLOW_BYTES, HubRequest, JsonResponse
from server.http.large_answers import JsonText, LargeAnswer
from server.http.lists import LINK, list_text
from server.http.openapi import header, operation
from server.http.preconditions import (
    NOT_MODIFIED,
    REPLAYED,
    IfMatchHeader,
    IfNoneMatchHeader,
    KeyHeader,
    headers_of_write,
    if_match,
    not_modified,
    request_key,
)
from server.wire.drafts import (
    Draft,
    DraftQuery,
    DraftVersionPage,
    DraftVersionQuery,
    DraftVersionsQuery,
    RestoreDraftVersionRequest,
    UpdateDraftRequest,
    draft_json_parts,
)
from server.wire.etags import quoted

_ETAG = header("ETag", "The etag of the draft's newest version: for `If-Match` and `If-None-Match`.")


@get(
    "/api/drafts/{draft_id:str}",
    **operation(
        "getDraft",
        "drafts",
        (400, 404, 429),
        response_description="The draft",
        dependencies=query_dependency(DraftQuery),
        response_headers=[_ETAG],
        responses=NOT_MODIFIED,
    ),
)
async def get_draft(
    request: HubRequest,
    use_cases: Cases,
    draft_id: FromPath[UUID],
    params: NamedDependency[DraftQuery],
    if_none_match: IfNoneMatchHeader = None,
) -> JsonResponse[Draft]:
    """A draft with its files, at its newest version or at the one that is asked for."""
    version = params.version or None

    async def read(reservation: Reservation) -> JsonText:
        if if_none_match is not None:
            known = await use_cases.draft_store.get(request.user, draft_id, version, files=False)
            if unchanged := not_modified(request, known.etag):
                return unchanged
        draft = await use_cases.draft_store.get(
            request.user, draft_id, version, contents=params.view == "full", reservation=reservation
        )
        texts = await REQUESTS.run_unless_small(sizes_of(draft.files), text_paths, draft.files)
        return JsonText(draft_json_parts(draft, texts), {"ETag": quoted(draft.etag)})

    return LargeAnswer(request, use_cases, read)


@put(
    "/api/drafts/{draft_id:str}",
    **operation(
        "updateDraft",
        "drafts",
        (400, 403, 404, 409, 412, 413, 422, 428, 429),
        response_description="The version that was made, without files",
        request_max_body_size=MAX_WORKFLOW_BYTES,
        response_headers=[_ETAG, REPLAYED],
    ),
)
async def update_draft(
    request: HubRequest,
    use_cases: Cases,
    draft_id: FromPath[UUID],
    data: JSONBody[UpdateDraftRequest],
    etags: IfMatchHeader = None,
    key: KeyHeader = None,
) -> JsonResponse[Draft]:
    """Write and delete files of a draft, as one new version. Files that are not named stay."""
    command = data.command()
    written = await use_cases.drafts.update(
        request.user,
        draft_id,
        command,
        if_match=if_match(request),
        key=request_key(request),
    )
    return _answer(written)


@get(
    "/api/drafts/{draft_id:str}/versions",
    **operation(
        "listDraftVersions",
        "drafts",
        (400, 404, 429),
        response_description="A page of versions",
        dependencies=query_dependency(DraftVersionsQuery),
        response_headers=[LINK],
    ),
)
async def list_draft_versions(
    request: HubRequest,
    use_cases: Cases,
    draft_id: FromPath[UUID],
    params: NamedDependency[DraftVersionsQuery],
) -> JsonResponse[DraftVersionPage]:
    """A draft's versions without files, newest first."""

    async def read(reservation: Reservation) -> JsonText:
        page = await use_cases.draft_store.versions(
            request.user, draft_id, limit=params.size, token=params.cursor
        )
        return list_text(request, DraftVersionPage.of(page))

    return LargeAnswer(request, use_cases, read)


@post(
    "/api/drafts/{draft_id:str}/restore",
    **operation(
        "restoreDraftVersion",
        "drafts",
        (400, 403, 404, 409, 412, 413, 422, 428, 429),
        response_description="The version that was made, without files",
        status_code=200,
        request_max_body_size=MAX_BODY_BYTES,
        response_headers=[_ETAG, REPLAYED],
    ),
)
async def restore_draft_version(
    request: HubRequest,
    use_cases: Cases,
    draft_id: FromPath[UUID],
    data: JSONBody[RestoreDraftVersionRequest],
    etags: IfMatchHeader = None,
    key: KeyHeader = None,
) -> JsonResponse[Draft]:
    """Give a draft the files of an earlier version again, as a new version: to undo is to restore the version
    before."""
    written = await use_cases.drafts.restore(
        request.user,
        draft_id,
        data.version,
        if_match=if_match(request),
        key=request_key(request),
    )
    return _answer(written)


@get(
    "/api/drafts/{draft_id:str}/files/{sha256:str}",
    **operation(
        "readDraftFile",
        "drafts",
        (404, 416, 429),
        response_headers=CONTENT_HEADERS,
        responses=CONTENT_RESPONSES,
    ),
)
async def read_draft_file(
    request: HubRequest, use_cases: Cases, draft_id: FromPath[UUID], sha256: FromPath[str]
) -> Response[Any]:
    """The content of a file of a draft, of any of its versions, by its SHA-256."""
    return await content_answer(request, use_cases, use_cases.draft_store, draft_id, sha256)


@get(
    "/api/drafts/{draft_id:str}/archive",
    **operation(
        "readDraftArchive",
        "drafts",
        (400, 404, 429),
        dependencies=query_dependency(DraftVersionQuery),
        responses=ARCHIVE_RESPONSES,
        response_headers=ARCHIVE_HEADERS,
    ),
)
async def read_draft_archive(
    request: HubRequest,
    use_cases: Cases,
    draft_id: FromPath[UUID],
    params: NamedDependency[DraftVersionQuery],
) -> Response[Any]:
    """The files of a version of a draft, by default the newest, as a zip archive like a proposal's."""

    async def read(_reservation: Reservation) -> tuple[ArchivedFiles, str]:
        draft = await use_cases.draft_store.get(
            request.user, draft_id, params.version or None, contents=False
        )
        files = await REQUESTS.run(ArchivedFiles.of_draft, draft)
        return files, f"draft-{draft_id}-version-{draft.version}"

    return await archive_answer(request, use_cases, use_cases.draft_store, read)


def _answer(written: WrittenDraft) -> JsonResponse[Draft]:
    headers = headers_of_write(written.draft.etag, replayed=written.replayed)
    return JsonResponse(Draft.of(written.draft), headers=headers)


DRAFT_ROUTES = [
    get_draft,
    update_draft,
    list_draft_versions,
    restore_draft_version,
    read_draft_file,
    read_draft_archive,
]
