"""Following in the seed's form: the frames of a thread, made once for all who read them."""

from __future__ import annotations

from server.domain.follow import Follower, Tails
from server.domain.ports import EventCodec
from server.domain.retelling import Retelling
from server.domain.segments import Segment


class SeedFollower:
    """A reader of the seed's frames, for sockets without a subprotocol.

    The frames are made once per segment and shared. A reader whose segments nobody has told yet
    retells the thread up to them from the journal, then hands its place to the others.
    """

    #: Under this key a segment keeps its frames.
    FRAMES = "seed frames"

    def __init__(self, follower: Follower, tails: Tails, codec: EventCodec) -> None:
        self.follower = follower
        self._tails = tails
        self._codec = codec

    async def frames(self, segment: Segment) -> list[bytes]:
        """The frames of a segment that `follower` handed out."""
        made: list[bytes] | None = segment.made(self.FRAMES)
        if made is not None:
            return made
        retelling = await self._retelling_at(segment.first_seq - 1)
        return segment.once(self.FRAMES, lambda shared: self._tell(retelling, shared))

    async def _retelling_at(self, seq: int) -> Retelling:
        """A retelling that stands at `seq`: the shared one, or one that was brought there."""
        tail = self.follower.tail
        shared = tail.retelling
        if shared is not None and shared.seq == seq:
            return shared
        own = shared.copy() if shared is not None and shared.seq < seq else Retelling()
        while own.seq < seq:
            for segment in await self._tails.read_after(tail.thread_id, own.seq):
                self._tell(own, segment.after(own.seq).up_to(seq))
                if own.seq == seq:
                    break
        if tail.retelling is None or tail.retelling.seq < own.seq:
            tail.retelling = own
        return own

    def _tell(self, retelling: Retelling, segment: Segment) -> list[bytes]:
        frames: list[bytes] = []
        rows = zip(segment.events(), segment.residue_list(), strict=True)
        for seq, (event, residue) in enumerate(rows, segment.first_seq):
            kind = self._codec.decode(event).kind if retelling.needs_event(residue) else None
            frames.extend(retelling.tell(seq, residue, kind))
        return frames
