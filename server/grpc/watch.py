"""WatchRefinement: a reader's steps as messages in the form of its call.

1. One message holds all events of a step: in Python, gRPC costs per message, not per event (ADR 0007). A step
   is bounded (`STEP_BYTES`). Larger events are messages of their own, with parts left out if the reader's
   limit demands it (`server.wire.large_events`).
2. A segment's bytes are sent as they are in the journal, or its JSON as it is for all readers; nothing is
   built or serialised per reader.
3. A slow reader, which does not take one message within `write_s`, loses its place at once. Its call ends
   with ABORTED as soon as the reader takes what waits for it, or leaves.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import assert_never
from uuid import UUID

from server.domain.endings import Endings
from server.domain.errors import ClientTooSlow, ShuttingDown
from server.domain.model import Principal
from server.domain.refinements import Refinements
from server.domain.streams.steps import Heartbeat, ReconnectElsewhere
from server.domain.streams.subscription import Subscription
from server.grpc.answers import message_form, reserved
from server.grpc.authentication import Context
from server.grpc.call_ends import waiting
from server.grpc.writing import MessageWriter
from server.wire.event_forms import MessageForm

#: Trailing metadata: seq of the last event of the last step that was sent whole.
LAST_SEQ = "last-seq"


class WatchStreams:
    """Writes the watches of this replica."""

    def __init__(self, refinements: Refinements, writer: MessageWriter) -> None:
        self._refinements, self._writer = refinements, writer
        self._open: set[asyncio.Timeout] = set()

    def __len__(self) -> int:
        return len(self._open)

    async def watch(
        self, principal: Principal, thread_id: UUID, after: int, max_event_bytes: int, context: Context
    ) -> None:
        """Write all events after `after` until the terminal one; larger events have parts left out.

        Raises NotFound, CursorOutOfRange, DatabaseUnavailable; ShuttingDown when ended by `end`.
        """
        subscription = await self._refinements.follow(principal, thread_id, after, reserved())
        try:
            # No deadline, until `end` sets one.
            async with asyncio.timeout(None) as timeout:
                self._open.add(timeout)
                try:
                    await self._send(subscription, max_event_bytes, context)
                finally:
                    self._open.discard(timeout)
        except TimeoutError:
            raise ShuttingDown from None
        except ClientTooSlow as slow:
            subscription.close()
            await self._writer.abort(context, slow, thread_id=str(thread_id))
        finally:
            subscription.close()

    async def _send(self, subscription: Subscription, max_event_bytes: int, context: Context) -> None:
        form = message_form()
        sent = subscription.cursor
        try:
            await self._writer.write(context, form.hello(subscription.topic.head), reserved())
            more = True
            while more:
                # A step moves the cursor before it is written.
                sent = subscription.cursor
                more = await self._send_step(subscription, form, max_event_bytes, context)
        finally:
            # gRPC sends it only when the watch succeeds.
            context.set_trailing_metadata(((LAST_SEQ, str(sent)),))

    async def _send_step(
        self, subscription: Subscription, form: MessageForm, max_event_bytes: int, context: Context
    ) -> bool:
        """Write the next step. Returns whether there was one.

        Nothing refers to it afterwards: a reader that waits for the next one would keep this one in memory,
        which is not counted any more.
        """
        with waiting():
            step = await subscription.step_when_available()
        match step:
            case Heartbeat(last_seq, progress):
                await self._writer.write(context, form.heartbeat(last_seq, progress), reserved())
            case ReconnectElsewhere(after_s):
                await self._writer.write(context, form.reconnect(after_s), reserved())
            case list() as segments:
                single = form.single(segments, max_event_bytes)
                if single is not None:
                    await self._writer.write(context, single, reserved())
                    return True
                async for message in form.batches(segments, max_event_bytes):
                    await self._writer.write(context, message, reserved())
            case None:
                return False
            case other:
                assert_never(other)
        return True

    def end(self) -> None:
        """End every watch, so that its reader continues elsewhere."""
        endings = Endings()
        for timeout in list(self._open):
            endings.add(partial(self._end, timeout))

    def _end(self, timeout: asyncio.Timeout) -> None:
        # One that has ended meanwhile has no deadline any more.
        if timeout in self._open:
            timeout.reschedule(asyncio.get_running_loop().time())
