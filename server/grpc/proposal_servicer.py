"""The methods of proposals: check the fields, call the use case, make the answer."""

from __future__ import annotations

from ide_orchestrator.v1.proposal_pb2_grpc import ProposalServiceServicer
from server.domain.off_loop import REQUESTS
from server.domain.proposals.archive import ArchivedFiles
from server.domain.proposals.contents import ArchivedStore
from server.domain.proposals.store import ProposalStore
from server.grpc.answers import reserved
from server.grpc.authentication import Context, caller
from server.grpc.content_reads import write_archive, write_content
from server.grpc.writing import MessageWriter
from server.wire import messages as m
from server.wire.large_proposals import proposal_response
from server.wire.pages import PAGE_NAMES
from server.wire.proposal_queries import proposals_query
from server.wire.proposals import proposals_message
from server.wire.validation import renamed_fields, uuid_or_not_found


class ProposalServicer(ProposalServiceServicer):
    """Read proposals (contract: ProposalService)."""

    def __init__(self, proposals: ProposalStore, contents: ArchivedStore, writer: MessageWriter) -> None:
        self._proposals, self._contents, self._writer = proposals, contents, writer

    async def GetProposal(self, request: m.GetProposalRequest, context: Context) -> m.GetProposalResponse:
        """Contract: GetProposal."""
        proposal_id = uuid_or_not_found(request.proposal_id, "proposal")
        proposal = await self._proposals.get(
            caller(), proposal_id, reserved(), contents=request.view != m.ProposalView.PROPOSAL_VIEW_BASIC
        )
        return await REQUESTS.run(proposal_response, proposal, request.file_offset)

    async def ListProposals(
        self, request: m.ListProposalsRequest, context: Context
    ) -> m.ListProposalsResponse:
        """Contract: ListProposals."""
        query = proposals_query(request)
        with renamed_fields(PAGE_NAMES):
            page = await self._proposals.list(
                caller(),
                limit=query.size,
                token=query.cursor,
                only=query.filter,
                reservation=reserved(),
            )
        return proposals_message(page)

    async def ReadFile(  # type: ignore[override]
        self, request: m.ReadFileRequest, context: Context
    ) -> None:
        """Contract: ReadFile. Writes serialised messages itself."""
        proposal_id = uuid_or_not_found(request.proposal_id, "proposal")
        await write_content(
            self._writer,
            context,
            self._contents,
            proposal_id,
            request,
            m.ReadFileResponse,
            proposal_id=str(proposal_id),
        )

    async def ReadArchive(  # type: ignore[override]
        self, request: m.ReadArchiveRequest, context: Context
    ) -> None:
        """Contract: ReadArchive. Writes serialised messages itself."""
        proposal_id = uuid_or_not_found(request.proposal_id, "proposal")
        proposal = await self._proposals.get(caller(), proposal_id, reserved(), contents=False)
        await write_archive(
            self._writer,
            context,
            self._contents,
            ArchivedFiles.of_proposal(proposal),
            m.ReadArchiveResponse,
            proposal_id=str(proposal_id),
        )
