"""Subscriptions to legacy frames: a thread's frames, reconstructed one by one from events and deltas.

1. The runtime's state frames repeat everything, so the frames of a segment may be far larger than the
   segment: they are made one at a time, and the caller limits how many it keeps.
2. To reconstruct the frames after a cursor, all earlier events must be read. A subscription keeps its own
   reconstructor at its cursor, and shares it when it is ahead of the topic's.
"""

from __future__ import annotations

from collections.abc import Iterator

from server.domain.journal.events import EventKind
from server.domain.journal.frame_reconstruction import FrameReconstructor
from server.domain.journal.journal import EventCodec
from server.domain.journal.segments import Segment
from server.domain.streams.subscription import Subscription


class LegacyFrameSubscription:
    """A reader of legacy frames, for sockets without a subprotocol."""

    def __init__(self, subscription: Subscription, codec: EventCodec) -> None:
        self.subscription = subscription
        self._codec = codec
        self._own: FrameReconstructor | None = None

    async def prepare(self, segment: Segment) -> None:
        """Advance to the event before the segment, so that `frames_of` can follow. May read the journal, and
        waits while the database is away. Raises as `Subscription.read_when_available`."""
        seq = segment.first_seq - 1
        own = self._nearest(seq)
        while own.seq < seq:
            for earlier in await self.subscription.read_when_available(own.seq):
                for at, delta, kind in self._events(earlier.after(own.seq).up_to(seq), own):
                    own.skip(at, delta, kind)
                if own.seq == seq:
                    break
        self._own = own

    def _nearest(self, seq: int) -> FrameReconstructor:
        """A reconstructor for this reader at `seq`, or at the nearest earlier position available."""
        own, shared = self._own, self.subscription.topic.reconstructor
        if own is not None and own.seq == seq:
            return own
        if shared is not None and shared.seq <= seq and (own is None or not shared.seq <= own.seq <= seq):
            return shared.copy()
        return own if own is not None and own.seq <= seq else FrameReconstructor()

    def frames_of(self, segment: Segment) -> Iterator[tuple[int, list[bytes]]]:
        """Seq and frames of each event of the segment that `prepare` was called with: usually one frame an
        event, made on demand."""
        own = self._own
        if own is None:
            raise ValueError("prepare must be called first")
        for at, delta, kind in self._events(segment, own):
            yield at, own.frames_for(at, delta, kind)
        topic = self.subscription.topic
        if topic.reconstructor is None or topic.reconstructor.seq < own.seq:
            # Others copy it; only this reader advances it.
            topic.reconstructor = own

    def _events(
        self, segment: Segment, own: FrameReconstructor
    ) -> Iterator[tuple[int, bytes, EventKind | None]]:
        rows = zip(segment.events(), segment.deltas(), strict=True)
        for seq, (event, delta) in enumerate(rows, segment.first_seq):
            yield seq, delta, self._codec.decode(event).kind if own.needs_event(delta) else None
