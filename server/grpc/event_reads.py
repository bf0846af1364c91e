"""ReadEvent: one event in pieces, however large it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from server.domain.errors import ClientTooSlow, InvalidArgument, LimitReached
from server.domain.model import Principal
from server.domain.refinements import Refinements
from server.grpc.answers import message_form, reserved
from server.grpc.authentication import Context
from server.grpc.writing import MessageWriter
from server.wire import messages as m
from server.wire.validation import uuid_or_not_found

#: Largest piece in bytes.
PIECE_BYTES = 1 << 20
#: Concurrent reads of one caller on this replica: each holds an event in memory.
MAX_READS = 4
RETRY_S = 1


class EventReads:
    """Writes the events that callers read whole."""

    def __init__(self, refinements: Refinements, writer: MessageWriter) -> None:
        self._refinements, self._writer = refinements, writer
        self._open: Counter[UUID] = Counter()

    async def read(self, principal: Principal, request: m.ReadEventRequest, context: Context) -> None:
        """Write the event from an offset on.

        Raises NotFound, CursorOutOfRange, InvalidArgument, LimitReached, DatabaseUnavailable.
        """
        thread_id = uuid_or_not_found(request.thread_id, "refinement")
        try:
            with self._counted(principal.quota_id):
                event = await self._refinements.event(principal, thread_id, request.seq, reserved())
                await self._send(event, request.offset, context)
        except ClientTooSlow as slow:
            # What waits for the reader may wait for long.
            del event
            await self._writer.abort(context, slow, thread_id=str(thread_id))

    async def _send(self, event: bytes, start: int, context: Context) -> None:
        if start > len(event):
            raise InvalidArgument({"offset": f"must be at most {len(event)}, the event's size"})
        for offset in range(start, len(event), PIECE_BYTES):
            piece = m.ReadEventResponse(
                data=event[offset : offset + PIECE_BYTES], offset=offset, size_bytes=len(event)
            )
            await self._writer.write(context, await message_form().message(piece), reserved())

    @contextmanager
    def _counted(self, caller: UUID) -> Iterator[None]:
        if self._open[caller] >= MAX_READS:
            raise LimitReached(f"at most {MAX_READS} reads of events at a time", retry_after_s=RETRY_S)
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]
