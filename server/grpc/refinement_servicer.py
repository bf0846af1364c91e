"""The methods of refinements: check the fields, call the use case, make the answer."""

from __future__ import annotations

from ide_orchestrator.v1.refinement_pb2_grpc import RefinementServiceServicer
from server.domain.file_history.file_history import FileHistory
from server.domain.input_replies import InputReplies
from server.domain.off_loop import REQUESTS
from server.domain.refinements import Refinements
from server.grpc.answers import message_form, reserved
from server.grpc.authentication import Context, caller
from server.grpc.content_reads import write_content
from server.grpc.event_reads import EventReads
from server.grpc.watch import WatchStreams
from server.grpc.writing import MessageWriter
from server.wire import messages as m
from server.wire.event_queries import events_query
from server.wire.file_history import blame_message, blame_query, files_at_message, files_at_query
from server.wire.large_events import event_limit
from server.wire.pages import PAGE_NAMES
from server.wire.refinements import refinement_message, start_refinement
from server.wire.replies import reply_to_input
from server.wire.validation import idempotency_key, renamed_fields, uuid_or_not_found


class RefinementServicer(RefinementServiceServicer):
    """Start, follow, answer and cancel refinements, and read their files as they were (contract:
    RefinementService)."""

    def __init__(
        self,
        refinements: Refinements,
        input_replies: InputReplies,
        file_history: FileHistory,
        watches: WatchStreams,
        reads: EventReads,
        writer: MessageWriter,
    ) -> None:
        self._refinements, self._input_replies = refinements, input_replies
        self._file_history = file_history
        self._watches, self._reads, self._writer = watches, reads, writer

    async def StartRefinement(
        self, request: m.StartRefinementRequest, context: Context
    ) -> m.StartRefinementResponse:
        """Contract: StartRefinement."""
        command = start_refinement(request)
        key = idempotency_key(request.request_id or None, "request_id")
        started = await self._refinements.start(caller(), command, key=key)
        return m.StartRefinementResponse(
            refinement=refinement_message(started.refinement), replayed=started.replayed
        )

    async def GetRefinement(
        self, request: m.GetRefinementRequest, context: Context
    ) -> m.GetRefinementResponse:
        """Contract: GetRefinement."""
        thread_id = uuid_or_not_found(request.thread_id, "refinement")
        refinement = await self._refinements.get(caller(), thread_id)
        return m.GetRefinementResponse(refinement=refinement_message(refinement))

    async def WatchRefinement(  # type: ignore[override]
        self, request: m.WatchRefinementRequest, context: Context
    ) -> None:
        """Contract: WatchRefinement. Writes serialised messages itself."""
        thread_id = uuid_or_not_found(request.thread_id, "refinement")
        max_event_bytes = event_limit(request.max_event_bytes)
        await self._watches.watch(caller(), thread_id, request.after_seq, max_event_bytes, context)

    async def CancelRefinement(
        self, request: m.CancelRefinementRequest, context: Context
    ) -> m.CancelRefinementResponse:
        """Contract: CancelRefinement."""
        thread_id = uuid_or_not_found(request.thread_id, "refinement")
        refinement = await self._refinements.cancel(caller(), thread_id)
        return m.CancelRefinementResponse(refinement=refinement_message(refinement))

    async def ReplyToInput(self, request: m.ReplyToInputRequest, context: Context) -> m.ReplyToInputResponse:
        """Contract: ReplyToInput."""
        thread_id = uuid_or_not_found(request.thread_id, "refinement")
        command = reply_to_input(request)
        key = idempotency_key(request.request_id or None, "request_id")
        replied = await self._input_replies.reply(
            caller(), thread_id, command.seq, command.decisions, key=key
        )
        return m.ReplyToInputResponse(
            refinement=refinement_message(replied.refinement), replayed=replied.replayed
        )

    async def ListEvents(  # type: ignore[override]
        self, request: m.ListEventsRequest, context: Context
    ) -> bytes:
        """Contract: ListEvents. Returns the serialised answer."""
        thread_id = uuid_or_not_found(request.thread_id, "refinement")
        query, max_event_bytes = events_query(request), event_limit(request.max_event_bytes)
        page = await self._refinements.page(
            caller(),
            thread_id,
            after=query.after,
            limit=query.size,
            wait_s=query.wait,
            reservation=reserved(),
        )
        return await message_form().page(page, max_event_bytes)

    async def ReadEvent(  # type: ignore[override]
        self, request: m.ReadEventRequest, context: Context
    ) -> None:
        """Contract: ReadEvent. Writes serialised messages itself."""
        await self._reads.read(caller(), request, context)

    async def ListFilesAt(self, request: m.ListFilesAtRequest, context: Context) -> m.ListFilesAtResponse:
        """Contract: ListFilesAt."""
        thread_id = uuid_or_not_found(request.thread_id, "refinement")
        query = files_at_query(request)
        with renamed_fields(PAGE_NAMES):
            seq, offset = query.place()
        page = await self._file_history.files_at(
            caller(),
            thread_id,
            seq,
            path=query.path or None,
            offset=offset,
            limit=query.size,
            reservation=reserved(),
        )
        return files_at_message(page)

    async def ReadRefinementFile(  # type: ignore[override]
        self, request: m.ReadRefinementFileRequest, context: Context
    ) -> None:
        """Contract: ReadRefinementFile. Writes serialised messages itself."""
        thread_id = uuid_or_not_found(request.thread_id, "refinement")
        await write_content(
            self._writer,
            context,
            self._file_history,
            thread_id,
            request,
            m.ReadRefinementFileResponse,
            thread_id=str(thread_id),
        )

    async def BlameFile(self, request: m.BlameFileRequest, context: Context) -> m.BlameFileResponse:
        """Contract: BlameFile."""
        thread_id = uuid_or_not_found(request.thread_id, "refinement")
        query = blame_query(request)
        blame = await self._file_history.blame(
            caller(),
            thread_id,
            query.path,
            query.seq,
            lines_before=query.lines_before,
            reservation=reserved(),
        )
        return await REQUESTS.run(blame_message, blame)
