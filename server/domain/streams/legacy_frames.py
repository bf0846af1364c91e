"""Following in the seed's form: a thread's frames, told one by one from its events and deltas.

1. The runtime's state frames repeat everything, so the frames of a segment may be far larger than the
   segment: they are made one at a time, and whoever keeps them bounds what is kept.
2. To tell the frames behind a cursor, what is before it must be known. A reader keeps its own retelling
   where it stands, and leaves it to the others when it is ahead of theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from server.domain.journal.events import EventKind
from server.domain.journal.frame_reconstruction import FrameReconstructor
from server.domain.journal.journal import EventCodec
from server.domain.journal.segments import Segment
from server.domain.streams.broadcaster import Broadcaster, Subscription


class LegacyFrameSubscription:
    """A reader of the seed's frames, for sockets without a subprotocol."""

    def __init__(self, follower: Subscription, tails: Broadcaster, codec: EventCodec) -> None:
        self.follower = follower
        self._tails = tails
        self._codec = codec
        self._own: FrameReconstructor | None = None

    async def prepare(self, segment: Segment) -> None:
        """Stand before the segment, so that `tell` can tell it. May read the journal, and waits while the
        database is away."""
        await self._tails.retry_while_unavailable(partial(self._prepare, segment))

    async def _prepare(self, segment: Segment) -> None:
        seq = segment.first_seq - 1
        own = self._nearest(seq)
        while own.seq < seq:
            for passed in await self._tails.read_after(self.follower.tail.thread_id, own.seq):
                for at, delta, kind in self._events(passed.after(own.seq).up_to(seq), own):
                    own.pass_by(at, delta, kind)
                if own.seq == seq:
                    break
        self._own = own

    def _nearest(self, seq: int) -> FrameReconstructor:
        """A retelling of this reader's that stands at `seq` or as little before it as is known."""
        own, shared = self._own, self.follower.tail.retelling
        if own is not None and own.seq == seq:
            return own
        if shared is not None and shared.seq <= seq and (own is None or not shared.seq <= own.seq <= seq):
            return shared.copy()
        return own if own is not None and own.seq <= seq else FrameReconstructor()

    def tell(self, segment: Segment) -> Iterator[tuple[int, list[bytes]]]:
        """Seq and frames of each event of the segment before which `prepare` put this reader; mostly
        one frame an event, made when it is asked for."""
        own = self._own
        if own is None:
            raise ValueError("prepare comes first")
        for at, delta, kind in self._events(segment, own):
            yield at, own.tell(at, delta, kind)
        shared = self.follower.tail.retelling
        if shared is None or shared.seq < own.seq:
            # Others copy it where it stands; only this reader moves it.
            self.follower.tail.retelling = own

    def _events(
        self, segment: Segment, own: FrameReconstructor
    ) -> Iterator[tuple[int, bytes, EventKind | None]]:
        rows = zip(segment.events(), segment.deltas(), strict=True)
        for seq, (event, delta) in enumerate(rows, segment.first_seq):
            yield seq, delta, self._codec.decode(event).kind if own.needs_event(delta) else None
