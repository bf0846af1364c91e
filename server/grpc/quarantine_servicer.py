"""The methods of the quarantine: check the fields, call the use case, make the answer. Only operators get
here (`server.grpc.authentication`)."""

from __future__ import annotations

from ide_orchestrator.v1.quarantine_pb2_grpc import QuarantineServiceServicer
from server.domain.errors import ClientTooSlow, InvalidArgument
from server.domain.quarantine.quarantine import Quarantine
from server.grpc.answers import message_form, reserved
from server.grpc.authentication import Context
from server.grpc.writing import MessageWriter
from server.wire import messages as m
from server.wire.pages import PAGE_NAMES, PageQuery, page_values
from server.wire.quarantine_messages import (
    frames_message,
    release_request,
    released_message,
    scanned_message,
    shape_message,
    shapes_message,
)
from server.wire.validation import renamed_fields, shape_id_or_not_found, uuid_or_not_found

#: Largest piece of a frame, in bytes.
_PIECE_BYTES = 1 << 20


class QuarantineServicer(QuarantineServiceServicer):
    """Show and release frames that the hub did not understand (contract: QuarantineService)."""

    def __init__(self, quarantine: Quarantine, writer: MessageWriter) -> None:
        self._quarantine, self._writer = quarantine, writer

    async def ListQuarantinedShapes(
        self, request: m.ListQuarantinedShapesRequest, context: Context
    ) -> m.ListQuarantinedShapesResponse:
        """Contract: ListQuarantinedShapes."""
        with renamed_fields(PAGE_NAMES):
            query = PageQuery.model_validate(page_values(request))
            page = await self._quarantine.groups(
                handled=request.include_released, limit=query.size, token=query.cursor
            )
        return shapes_message(page)

    async def GetQuarantinedShape(
        self, request: m.GetQuarantinedShapeRequest, context: Context
    ) -> m.GetQuarantinedShapeResponse:
        """Contract: GetQuarantinedShape."""
        group = await self._quarantine.group(shape_id_or_not_found(request.shape_id))
        return m.GetQuarantinedShapeResponse(shape=shape_message(group))

    async def ListQuarantinedFrames(
        self, request: m.ListQuarantinedFramesRequest, context: Context
    ) -> m.ListQuarantinedFramesResponse:
        """Contract: ListQuarantinedFrames."""
        with renamed_fields(PAGE_NAMES):
            query = PageQuery.model_validate(page_values(request))
            shape_id = shape_id_or_not_found(request.shape_id)
            page = await self._quarantine.frames(shape_id, limit=query.size, token=query.cursor)
        return frames_message(page)

    async def ReadQuarantinedFrame(  # type: ignore[override]
        self, request: m.ReadQuarantinedFrameRequest, context: Context
    ) -> None:
        """Contract: ReadQuarantinedFrame. Writes serialised messages itself."""
        thread_id = uuid_or_not_found(request.thread_id, "refinement")
        frame = await self._quarantine.content(thread_id, request.seq, reserved())
        if request.offset > len(frame):
            raise InvalidArgument({"offset": f"must be at most {len(frame)}, the frame's size"})
        try:
            # An empty frame, or none of it, is a piece, too.
            for offset in range(request.offset, len(frame), _PIECE_BYTES) or [request.offset]:
                piece = m.ReadQuarantinedFrameResponse(
                    data=frame[offset : offset + _PIECE_BYTES], offset=offset, size_bytes=len(frame)
                )
                await self._writer.write(context, await message_form().message(piece), reserved())
        except ClientTooSlow as slow:
            # What waits for the reader may wait for long.
            del frame
            await self._writer.abort(context, slow, thread_id=str(thread_id))

    async def ReleaseQuarantinedShape(
        self, request: m.ReleaseQuarantinedShapeRequest, context: Context
    ) -> m.ReleaseQuarantinedShapeResponse:
        """Contract: ReleaseQuarantinedShape."""
        query = release_request(request)
        shape_id = shape_id_or_not_found(request.shape_id)
        with renamed_fields(PAGE_NAMES):
            released = await self._quarantine.release(shape_id, limit=query.size, token=query.cursor)
        return released_message(released)

    async def ScanQuarantine(
        self, request: m.ScanQuarantineRequest, context: Context
    ) -> m.ScanQuarantineResponse:
        """Contract: ScanQuarantine."""
        with renamed_fields(PAGE_NAMES):
            scanned = await self._quarantine.scan(request.page_token or None)
        return scanned_message(scanned)
