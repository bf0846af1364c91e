"""What is known of the connections of the gRPC port: whose calls they bring, and whether they bring too many.

grpc hands out the calls of all connections in one order. Each costs the event loop some 20 µs even if it is
dropped at once, and then its client makes the next one: a flood lasts as long as its client likes, and
everybody's calls are behind it. Only a connection that is closed brings no calls (ADR 0073). Here:

1. A connection has the turns of the caller who was last identified on it: a proxy's users share them.
2. While many calls of strangers wait, a connection on which nobody was identified is closed when it brings
   more calls than `OF_STRANGER`. Not before one of them was looked at: a client may begin with hundreds.
3. A connection of one caller alone is closed when it brings calls for which that caller has no place.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from server.domain.access.cut_offs import FLOOD, CutOffObserver
from server.domain.arrivals import Stranger
from server.domain.model import Principal
from server.domain.rates import Rate, TokenBucket, TokenBuckets
from server.grpc.admission import OF_STRANGER

#: Connections that are remembered: more than there may be.
MAX_PEERS = 20_000
#: How many calls of a caller and its share links may be dropped before the caller's connections are closed.
WITHOUT_A_PLACE = Rate(burst=1_000, per_s=100)
#: Seconds for which a connection is new.
NEW_S = 1.0
#: Seconds for which further calls of a connection that is being closed are dropped.
CLOSING_S = 5.0


class _Peer:
    """A connection. group: of its calls; None of a stranger's. shared: by several callers. begun, met: one of
    its calls began, and one had no caller. since, closed_at: when it was first seen, and given up."""

    __slots__ = ("begun", "calls", "closed_at", "group", "met", "shared", "since")

    def __init__(self, now: float) -> None:
        self.since = now
        self.group: Hashable | None = None
        self.shared = self.begun = self.met = False
        self.calls = TokenBucket(OF_STRANGER)
        self.closed_at = float("-inf")


class Peers:
    """The connections of one server, by what grpc calls them."""

    def __init__(
        self,
        observer: CutOffObserver | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
        max_peers: int = MAX_PEERS,
    ) -> None:
        self._observer, self._now, self._max_peers = observer, now, max_peers
        self._peers: OrderedDict[str, _Peer] = OrderedDict()
        self._without_a_place = TokenBuckets(max_peers)
        #: Called with a connection and its group when it was a stranger's before.
        self.on_identified: Callable[[str, Hashable], None] = lambda peer, group: None
        #: Whether many calls of strangers wait.
        self.crowded: Callable[[], bool] = lambda: False
        #: Called for each call of a stranger, and of a new connection.
        self.on_new: Callable[[], None] = lambda: None
        #: Closes a connection.
        self.hang_up: Callable[[str], None] = lambda peer: None

    def _of(self, name: str) -> _Peer:
        peer = self._peers.get(name)
        if peer is None:
            peer = self._peers[name] = _Peer(self._now())
            if len(self._peers) > self._max_peers:
                self._peers.popitem(last=False)
        else:
            self._peers.move_to_end(name)
        return peer

    def arrive(self, name: str) -> Hashable | None:
        """Count a call. Returns the group in whose turns it waits; None if its connection is being closed."""
        peer, now = self._of(name), self._now()
        if peer.group is None or now - peer.since < NEW_S:
            self.on_new()
        if now - peer.closed_at < CLOSING_S:
            return None
        if peer.group is not None:
            return peer.group
        if peer.calls.take(1, now) and peer.met and self.crowded():
            self._close(name, peer, now)
            return None
        return Stranger(name, is_new=not peer.begun)

    def is_closing(self, name: str) -> bool:
        """Whether a connection was given up a moment ago: its calls need not begin."""
        peer = self._peers.get(name)
        return peer is not None and self._now() - peer.closed_at < CLOSING_S

    def is_known(self, name: str) -> bool:
        """Whether somebody was identified on a connection."""
        peer = self._peers.get(name)
        return peer is not None and peer.group is not None

    def is_first(self, name: str) -> bool:
        """Whether a call has arrived on a connection of which nothing is known."""
        return name not in self._peers

    def begin(self, name: str) -> None:
        """It is a call's turn."""
        self._of(name).begun = True

    def identify(self, name: str, caller: Principal) -> None:
        """A call had a caller."""
        peer, group = self._of(name), caller.memory_id
        peer.shared |= peer.group not in (None, group)
        was_stranger, peer.group = peer.group is None, group
        if was_stranger:
            self.on_identified(name, group)

    def meet(self, name: str) -> None:
        """A call had no caller, and needs none or was refused."""
        peer, now = self._of(name), self._now()
        peer.met = True
        if peer.group is None and peer.calls.over_s(now) and self.crowded():
            self._close(name, peer, now)

    def exceed(self, name: str) -> None:
        """There was no place for a call."""
        peer, now = self._of(name), self._now()
        if peer.group is None:
            if peer.met and self.crowded():
                self._close(name, peer, now)
        elif not peer.shared and self._without_a_place.take(peer.group, WITHOUT_A_PLACE, 1, now):
            self._close(name, peer, now)

    def _close(self, name: str, peer: _Peer, now: float) -> None:
        if now - peer.closed_at >= CLOSING_S:
            peer.closed_at = now
            self.cut_off()
            self.hang_up(name)

    def cut_off(self) -> None:
        """A connection is closed because there are too many calls."""
        if self._observer is not None:
            self._observer.on_cut_off(FLOOD)
