"""WatchRefinement: a reader's steps as serialised messages.

1. One message holds all events of a step: in Python, gRPC costs per message, not per event (ADR 0007). A step
   is bounded (`STEP_BYTES`), so a message is too, except for a single larger event.
2. A segment's bytes are sent as they are in the journal; nothing is built or serialised per reader.
3. A slow reader, which does not take one message within `write_s`, loses its place at once. Its call ends
   with ABORTED as soon as the reader takes what waits for it, or leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import assert_never
from uuid import UUID

import grpc
import grpc.aio
from grpc_status import rpc_status

from server.domain.errors import ClientTooSlow, ShuttingDown
from server.domain.model import Principal
from server.domain.refinements import Refinements
from server.domain.streams.observer import ReaderObserver
from server.domain.streams.steps import Heartbeat, ReconnectElsewhere
from server.domain.streams.subscription import Subscription
from server.grpc.interceptors import Context
from server.wire import rendering
from server.wire.problems import grpc_status

#: Trailing metadata: seq of the last event that was sent.
LAST_SEQ = "last-seq"


async def write_in_time(
    context: Context, message: bytes, write_s: float, *, advice: str = "read again from its last byte"
) -> None:
    """Write a message of a stream. Raises ClientTooSlow when the reader does not take it within `write_s`."""
    try:
        async with asyncio.timeout(write_s):
            await context.write(message)
    except TimeoutError:
        raise ClientTooSlow(f"the reader took nothing for {write_s:g} s: {advice}") from None


class WatchStreams:
    """Writes the watches of this replica. write_s: longest wait until a reader takes a message."""

    def __init__(self, refinements: Refinements, readers: ReaderObserver, *, write_s: float) -> None:
        self._refinements, self._readers, self._write_s = refinements, readers, write_s
        self._open: set[asyncio.Timeout] = set()

    def __len__(self) -> int:
        return len(self._open)

    async def watch(self, principal: Principal, thread_id: UUID, after: int, context: Context) -> None:
        """Write all events after `after` until the terminal one.

        Raises NotFound, CursorOutOfRange, DatabaseUnavailable; ShuttingDown when ended by `end`.
        """
        subscription = await self._refinements.follow(principal, thread_id, after)
        try:
            # No deadline, until `end` sets one.
            async with asyncio.timeout(None) as timeout:
                self._open.add(timeout)
                try:
                    await self._send(subscription, context)
                finally:
                    self._open.discard(timeout)
        except TimeoutError:
            raise ShuttingDown from None
        except ClientTooSlow as slow:
            # Unsubscribe first: the status is sent only after the messages that the reader has not taken. If
            # the reader leaves instead, grpc raises because the status could not be sent.
            subscription.close()
            self._readers.on_slow_reader("grpc")
            with contextlib.suppress(grpc.aio.InternalError):
                await context.abort_with_status(rpc_status.to_status(grpc_status(slow)))
        finally:
            subscription.close()

    async def _send(self, subscription: Subscription, context: Context) -> None:
        await self._write(context, rendering.hello(subscription.topic.head))
        while True:
            match await subscription.step():
                case Heartbeat(last_seq, progress):
                    await self._write(context, rendering.heartbeat(last_seq, progress))
                case ReconnectElsewhere(after_s):
                    await self._write(context, rendering.reconnect(after_s))
                case list() as segments:
                    await self._write(context, rendering.event_batch_responses(segments))
                case None:
                    break
                case other:
                    assert_never(other)
        context.set_trailing_metadata(((LAST_SEQ, str(subscription.cursor)),))

    async def _write(self, context: Context, message: bytes) -> None:
        await write_in_time(context, message, self._write_s, advice="watch again from its last seq")

    def end(self) -> None:
        """End every watch, so that its reader continues elsewhere."""
        now = asyncio.get_running_loop().time()
        for timeout in list(self._open):
            timeout.reschedule(now)
