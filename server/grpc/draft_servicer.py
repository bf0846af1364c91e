"""The methods of drafts: check the fields, call the use case, make the answer."""

from __future__ import annotations

from ide_orchestrator.v1.draft_pb2_grpc import DraftServiceServicer
from server.domain.drafts.draft import sizes_of
from server.domain.drafts.drafts import Drafts
from server.domain.drafts.store import DraftStore
from server.domain.off_loop import REQUESTS
from server.domain.proposals.archive import ArchivedFiles
from server.grpc.answers import reserved
from server.grpc.authentication import Context, caller
from server.grpc.content_reads import write_archive, write_content
from server.grpc.writing import MessageWriter
from server.wire import messages as m
from server.wire.drafts import (
    drafts_message,
    fit_draft,
    restored_message,
    restored_version,
    update_draft,
    updated_message,
)
from server.wire.etags import if_match
from server.wire.pages import PAGE_NAMES, PageQuery, page_values
from server.wire.validation import idempotency_key, renamed_fields, uuid_or_not_found


class DraftServicer(DraftServiceServicer):
    """Read and write drafts (contract: DraftService)."""

    def __init__(self, drafts: Drafts, store: DraftStore, writer: MessageWriter) -> None:
        self._drafts, self._store, self._writer = drafts, store, writer

    async def GetDraft(self, request: m.GetDraftRequest, context: Context) -> m.GetDraftResponse:
        """Contract: GetDraft."""
        draft = await self._store.get(
            caller(),
            uuid_or_not_found(request.draft_id, "draft"),
            request.version or None,
            contents=request.view != m.DraftView.DRAFT_VIEW_BASIC,
            reservation=reserved(),
        )
        return await REQUESTS.run_unless_small(sizes_of(draft.files), fit_draft, draft, request.file_offset)

    async def UpdateDraft(self, request: m.UpdateDraftRequest, context: Context) -> m.UpdateDraftResponse:
        """Contract: UpdateDraft."""
        draft_id = uuid_or_not_found(request.draft_id, "draft")
        command = await REQUESTS.run_unless_small([request.ByteSize()], update_draft, request)
        key = idempotency_key(request.request_id or None, "request_id")
        written = await self._drafts.update(
            caller(), draft_id, command, if_match=if_match(request.etag), key=key
        )
        return updated_message(written)

    async def ListDraftVersions(
        self, request: m.ListDraftVersionsRequest, context: Context
    ) -> m.ListDraftVersionsResponse:
        """Contract: ListDraftVersions."""
        draft_id = uuid_or_not_found(request.draft_id, "draft")
        with renamed_fields(PAGE_NAMES):
            query = PageQuery.model_validate(page_values(request))
            page = await self._store.versions(caller(), draft_id, limit=query.size, token=query.cursor)
        return drafts_message(page)

    async def RestoreDraftVersion(
        self, request: m.RestoreDraftVersionRequest, context: Context
    ) -> m.RestoreDraftVersionResponse:
        """Contract: RestoreDraftVersion."""
        draft_id = uuid_or_not_found(request.draft_id, "draft")
        version = restored_version(request)
        key = idempotency_key(request.request_id or None, "request_id")
        written = await self._drafts.restore(
            caller(), draft_id, version, if_match=if_match(request.etag), key=key
        )
        return restored_message(written)

    async def ReadDraftFile(  # type: ignore[override]
        self, request: m.ReadDraftFileRequest, context: Context
    ) -> None:
        """Contract: ReadDraftFile. Writes serialised messages itself."""
        draft_id = uuid_or_not_found(request.draft_id, "draft")
        await write_content(
            self._writer,
            context,
            self._store,
            draft_id,
            request,
            m.ReadDraftFileResponse,
            draft_id=str(draft_id),
        )

    async def ReadDraftArchive(  # type: ignore[override]
        self, request: m.ReadDraftArchiveRequest, context: Context
    ) -> None:
        """Contract: ReadDraftArchive. Writes serialised messages itself."""
        draft_id = uuid_or_not_found(request.draft_id, "draft")
        draft = await self._store.get(caller(), draft_id, request.version or None, contents=False)
        await write_archive(
            self._writer,
            context,
            self._store,
            await REQUESTS.run(ArchivedFiles.of_draft, draft),
            m.ReadDraftArchiveResponse,
            draft_id=str(draft_id),
        )
