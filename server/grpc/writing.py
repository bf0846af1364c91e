"""Writing to readers that may be slow: a reader that does not take a message in time loses its place."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from math import inf
from typing import Any

import grpc.aio
import structlog
from grpc_status import rpc_status

from server.domain.errors import ClientTooSlow
from server.domain.fair_budget import Reservation
from server.domain.streams.observer import ReaderObserver
from server.grpc.authentication import Context
from server.grpc.interceptors import call_trace_id
from server.grpc.shared_deadline import SharedDeadline
from server.wire.problem_details import grpc_status

#: Messages of at most so many bytes are not counted.
SMALL_BYTES = 4 << 10
#: A message that waits is in memory twice: as it was made, and in grpc.
_COPIES = 2

log = structlog.stdlib.get_logger("server.grpc")


async def make_room(message: bytes, reservation: Reservation | None) -> None:
    """Wait until there is room for a message that is about to be written. None: it is small."""
    if reservation is not None and len(message) > max(reservation.size_bytes, SMALL_BYTES):
        await reservation.resize(len(message) * _COPIES)


class MessageWriter(ABC):
    """Writes the messages of a transport's streams."""

    @abstractmethod
    async def write(self, context: Context, message: bytes, reservation: Reservation | None = None) -> None:
        """Send a message, once there is room for it. Raises ClientTooSlow, and CancelledError when the reader
        has left. reservation: None for small messages."""

    @abstractmethod
    async def abort(self, context: Context, slow: ClientTooSlow, **ids: str) -> None:
        """Log, count and end the call of a slow reader. ids: what it read."""

    @contextlib.asynccontextmanager
    async def abort_if_slow(self, context: Context, **ids: str) -> AsyncIterator[None]:
        """End the call if its reader is too slow in the block. ids: what it reads."""
        try:
            yield
        except ClientTooSlow as slow:
            await self.abort(context, slow, **ids)


class GrpcWriter(MessageWriter):
    """Writes messages to readers over gRPC. write_s: longest wait until a reader takes one."""

    def __init__(self, readers: ReaderObserver, *, write_s: float) -> None:
        self._readers, self._write_s = readers, write_s
        self._deadline = SharedDeadline(write_s)
        self._answers = UnreadAnswers(write_s, self._note_slow)

    async def answer(self, context: Context, message: bytes, reservation: Reservation) -> bytes:
        """The message of an answer, once there is room for it, for grpc to send with the status: that is one
        batch of operations, and not two. It keeps the reservation until the call has ended."""
        await make_room(message, reservation)
        self._answers.add(context, len(message), reservation)
        return message

    async def write(self, context: Context, message: bytes, reservation: Reservation | None = None) -> None:
        """Send a message. One that the reader did not take stays in memory until the call has ended."""
        await make_room(message, reservation)
        try:
            await self._deadline.limit(context.write(message))
        except TimeoutError:
            if reservation is not None:
                reservation.resize_now(len(message) * _COPIES)
            raise ClientTooSlow(
                f"the reader took nothing for {self._write_s:g} s: watch again from its last seq, or read "
                "on from its offset"
            ) from None
        except grpc.aio.InternalError:
            # The reader has left: its handler is about to be cancelled.
            raise asyncio.CancelledError from None

    async def abort(self, context: Context, slow: ClientTooSlow, **ids: str) -> None:
        """Log, count and end the call of a slow reader, after freeing what it held. ids: what it read.

        The status is sent only after the messages that the reader has not taken. If the reader leaves
        instead, grpc raises because the status could not be sent.
        """
        trace_id = self._note_slow(context, **ids)
        with contextlib.suppress(grpc.aio.InternalError):
            await context.abort_with_status(rpc_status.to_status(grpc_status(slow, trace_id=trace_id)))

    def _note_slow(self, context: Context, **ids: str) -> str:
        """Log and count a slow reader. Returns the call's trace id."""
        trace_id = call_trace_id(context)
        log.info("slow_reader", trace_id=trace_id, **ids)
        self._readers.on_slow_reader("grpc")
        return trace_id


class UnreadAnswers:
    """Answers that grpc has been given, until their calls have ended: one that its client does not take
    within `seconds` is noted, and counts as what is in memory of it. It ends with its connection."""

    def __init__(self, seconds: float, note_slow: Callable[[Context], object]) -> None:
        self._seconds, self._note_slow = seconds, note_slow
        #: By when each must be taken, its size and its reservation; inf once it is noted.
        self._answers: dict[Context, tuple[float, int, Reservation]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, context: Context, size_bytes: int, reservation: Reservation) -> None:
        """Note an answer that is about to be sent."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._seconds
        self._answers[context] = due, size_bytes, reservation
        ended: Any = self._ended
        context.add_done_callback(ended)
        if self._timer is None:
            self._timer = loop.call_at(due, self._note_overdue, loop)

    def _ended(self, context: Context) -> None:
        self._answers.pop(context)[2].close()

    def _note_overdue(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer, now = None, loop.time()
        for context, (due, size_bytes, reservation) in list(self._answers.items()):
            if now < due < inf:
                self._timer = loop.call_at(due, self._note_overdue, loop)
                break
            if due <= now:
                self._answers[context] = inf, size_bytes, reservation
                reservation.resize_now(size_bytes * _COPIES)
                self._note_slow(context)
