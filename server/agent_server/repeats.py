"""What a server sends twice on one connection.

LangGraph's development server subscribes to a run before it replays what the run has sent. What comes in
between is sent with the replay, and then once more. Ids do not tell: they are milliseconds, and several
events may have the same one, even with the same text. Where an id goes back, the repetition is found by the
events that came before. Where it stays, the server is asked which events it keeps under that id.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from typing import TypeAlias

from server.agent_server.events import ServerEvent
from server.domain.runs.runtime import StreamClosed

#: The digests of the events that the server keeps under an id, in order. Raises StreamClosed.
Recall: TypeAlias = Callable[[bytes], Awaitable[Sequence[bytes]]]
#: How many events back a repetition may begin: those that were sent while the server replayed the run. More
#: are not searched for each event whose id goes back.
MAX_REPEATED = 20_000
#: And where it may be: the event before it came so often. Each is followed, event by event.
MAX_PLACES = 100
#: Longest id that is read.
_MAX_ID_BYTES = 40
_DIGEST_BYTES = 8


class Repeats:
    """The events of one connection: whether the next one was sent before.

    since_ms: the earliest time of an event that may be sent twice, in milliseconds of the server's clock.
    """

    def __init__(self, recall: Recall, *, since_ms: int = 0) -> None:
        self._recall, self._since_ms = recall, since_ms
        #: A digest of each event, one after the other: 20,000 are searched in 16 µs, as numbers in 400.
        self._seen = bytearray()
        #: Where the repetition may be: places in `_seen` of the next event. Empty outside of one.
        self._places: list[int] = []
        #: The last id, how many events have had it, and those that the server keeps under it, once it was
        #: asked.
        self._id = (0, 0)
        self._count = 0
        self._kept: Sequence[bytes] | None = None
        #: Whether the repetition is over: there is one at most.
        self._over = False

    async def repeated(self, event: ServerEvent) -> bool:
        """Whether the next event repeats one. Raises StreamClosed where that cannot be said."""
        digest = digest_of(event)
        if self._places:
            self._follow(digest)
            return True
        event_id = order_of(event.id)
        if event_id is not None and not self._over:
            if event_id < self._id and self._begins(digest):
                return True
            if event_id == self._id and await self._is_in_excess(event, digest):
                return True
            if event_id != self._id:
                self._id, self._count, self._kept = event_id, 0, None
            self._count += 1
        self._seen += digest
        return False

    @property
    def _total(self) -> int:
        """How many events there were."""
        return len(self._seen) // _DIGEST_BYTES

    def _places_of(self, digest: bytes, *, last: int) -> Iterator[int]:
        """Where an event is among the last ones, the latest place first."""
        end, first = len(self._seen), max(len(self._seen) - last * _DIGEST_BYTES, 0)
        while (at := self._seen.rfind(digest, first, end)) >= 0:
            if at % _DIGEST_BYTES == 0:
                yield at // _DIGEST_BYTES
            end = at + _DIGEST_BYTES - 1

    def _begins(self, digest: bytes) -> bool:
        """Whether the event came before; the repetition begins with it then. Raises StreamClosed when it came
        too often to say where."""
        found = islice(self._places_of(digest, last=MAX_REPEATED), MAX_PLACES + 1)
        self._places = [place + 1 for place in found][::-1]
        if len(self._places) > MAX_PLACES:
            raise StreamClosed("the runtime's stream repeats itself too often")
        begins = bool(self._places)
        self._end_if_over()
        return begins

    def _follow(self, digest: bytes) -> None:
        starts = ((place, place * _DIGEST_BYTES) for place in self._places)
        self._places = [place + 1 for place, at in starts if self._seen[at : at + _DIGEST_BYTES] == digest]
        if not self._places:
            # What was left out until here may have been new.
            raise StreamClosed("the runtime's stream repeats itself, but differs")
        self._end_if_over()

    def _end_if_over(self) -> None:
        """End the repetition once one of its places has come to the end."""
        if self._places and self._places[-1] == self._total:
            self._places, self._over = [], True

    async def _is_in_excess(self, event: ServerEvent, digest: bytes) -> bool:
        """Whether an event with the last id is none that the server keeps next under it."""
        if self._id[0] < self._since_ms:
            return False
        if next(self._places_of(digest, last=min(self._count, MAX_REPEATED)), None) is None:
            return False
        if self._kept is None:
            self._kept = await self._recall(event.id)
        return self._kept[self._count : self._count + 1] != [digest]


def order_of(event_id: bytes) -> tuple[int, int] | None:
    """The milliseconds and the number in an id, `MS-NUMBER`; None for any other."""
    milliseconds, _, number = event_id.partition(b"-")
    if not (milliseconds.isdigit() and number.isdigit() and len(event_id) <= _MAX_ID_BYTES):
        return None
    return int(milliseconds), int(number)


def digest_of(event: ServerEvent) -> bytes:
    """Eight bytes that stand for an event."""
    digest = blake2b(b"%d %d " % (len(event.id), len(event.name)), digest_size=_DIGEST_BYTES)
    for part in event[::-1]:
        digest.update(part)
    return digest.digest()
