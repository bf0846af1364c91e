"""What a server sends twice on one connection.

LangGraph's development server subscribes to a run before it replays what the run has sent. What comes in
between is sent with the replay, and then again. The ids of its events are milliseconds, which several may
share, so they tell that it goes back, and not where to.
"""

from __future__ import annotations

from array import array
from hashlib import blake2b

from server.agent_server.events import ServerEvent
from server.domain.runs.runtime import StreamClosed


class Repeats:
    """The events of one connection: whether the next one was sent before.

    An id that is smaller than the last one begins a repetition if that event came before. The repetition ends
    where what came before ends.
    """

    def __init__(self) -> None:
        #: A digest of each event.
        self._seen = array("Q")
        self._last_id = (0, 0)
        #: Where the repetition may be: places in `_seen` of the next event. Empty outside of one.
        self._places: list[int] = []

    def repeated(self, event: ServerEvent) -> bool:
        """Whether the next event repeats one. Raises StreamClosed where that cannot be said."""
        digest = _digest(event)
        event_id = _order_of(event.id)
        if self._places:
            self._follow(digest)
            return True
        if event_id is not None and event_id < self._last_id:
            self._places = [place + 1 for place, seen in enumerate(self._seen) if seen == digest]
            if self._places:
                self._end_if_over()
                return True
        if event_id is not None:
            self._last_id = event_id
        self._seen.append(digest)
        return False

    def _follow(self, digest: int) -> None:
        self._places = [place + 1 for place in self._places if self._seen[place] == digest]
        if not self._places:
            # What was left out until here may have been new.
            raise StreamClosed("the runtime's stream repeats itself, but differs")
        self._end_if_over()

    def _end_if_over(self) -> None:
        """End the repetition once one of its places has come to the end."""
        if self._places[-1] == len(self._seen):
            self._places = []


def _order_of(event_id: bytes) -> tuple[int, int] | None:
    """The milliseconds and the number in an id, `MS-NUMBER`; None for any other."""
    milliseconds, _, number = event_id.partition(b"-")
    if not (milliseconds.isdigit() and number.isdigit() and len(event_id) <= 40):
        return None
    return int(milliseconds), int(number)


def _digest(event: ServerEvent) -> int:
    digest = blake2b(b"%d %d " % (len(event.id), len(event.name)), digest_size=8)
    for part in event[::-1]:
        digest.update(part)
    return int.from_bytes(digest.digest(), "little")
