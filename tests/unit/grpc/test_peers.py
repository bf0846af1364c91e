"""Which connections of the gRPC port are closed, and whose turns their calls have."""

from __future__ import annotations

from uuid import UUID

from server.domain.access.cut_offs import FLOOD
from server.domain.arrivals import Stranger
from server.domain.model import Principal
from server.grpc.admission import OF_STRANGER
from server.grpc.peers import CLOSING_S, WITHOUT_A_PLACE, Peers

ANN, BOB = (Principal(UUID(int=number), name, None, None) for number, name in enumerate(("ann", "bob")))
#: Calls that a stranger's connection may make at once.
AT_ONCE = round(OF_STRANGER.burst)


class Connections:
    """The connections of a server whose time is `now`, and those that were closed."""

    def __init__(self) -> None:
        self.now = 0.0
        self.closed: list[str] = []
        self.reasons: list[str] = []
        self.peers = Peers(self, now=lambda: self.now)
        self.peers.hang_up = self.closed.append
        self.crowded = True
        self.peers.crowded = lambda: self.crowded

    def on_cut_off(self, reason: str) -> None:
        self.reasons.append(reason)

    def make_calls(self, peer: str, count: int) -> None:
        for _ in range(count):
            self.peers.arrive(peer)


def test_a_strangers_connection_that_makes_too_many_calls_is_closed() -> None:
    connections = Connections()
    assert connections.peers.arrive("a") == Stranger("a")
    connections.peers.meet("a")
    connections.make_calls("a", AT_ONCE - 1)
    assert connections.closed == []
    assert connections.peers.arrive("a") is None
    assert (connections.closed, connections.reasons) == (["a"], [FLOOD])


def test_no_strangers_connection_is_closed_while_few_calls_of_strangers_wait() -> None:
    connections = Connections()
    connections.crowded = False
    connections.peers.meet("a")
    connections.make_calls("a", 10 * AT_ONCE)
    connections.peers.exceed("a")
    assert connections.closed == []


def test_a_strangers_connection_may_go_on_at_its_rate() -> None:
    connections = Connections()
    connections.peers.meet("a")
    for _ in range(1_000):
        connections.make_calls("a", 1)
        connections.now += 1 / OF_STRANGER.per_s
    assert connections.closed == []


def test_a_connection_is_not_closed_before_one_of_its_calls_was_looked_at() -> None:
    connections = Connections()
    connections.make_calls("a", 500)
    assert connections.closed == []
    connections.peers.identify("a", ANN)
    connections.make_calls("a", 500)
    assert connections.closed == []

    connections.make_calls("b", 500)
    connections.peers.meet("b")
    assert connections.closed == ["b"]


def test_calls_of_a_connection_that_is_being_closed_are_dropped() -> None:
    connections = Connections()
    connections.peers.meet("a")
    connections.make_calls("a", AT_ONCE + 100)
    assert connections.closed == ["a"]
    # Another client may have the same port later.
    connections.now += CLOSING_S
    connections.now += 60
    assert connections.peers.arrive("a") is not None


def test_a_caller_that_has_no_place_for_many_calls_loses_the_connections_that_bring_them() -> None:
    connections = Connections()
    for peer in ("a", "b", "c"):
        connections.peers.identify(peer, ANN)
    connections.peers.identify("of bob", BOB)
    for _ in range(round(WITHOUT_A_PLACE.burst)):
        connections.peers.exceed("a")
    connections.peers.exceed("of bob")
    assert connections.closed == []
    connections.peers.exceed("b")
    assert connections.closed == ["b"]


def test_a_connection_of_several_callers_is_not_closed_for_one_of_them() -> None:
    connections = Connections()
    connections.peers.identify("proxy", ANN)
    connections.peers.identify("proxy", BOB)
    for _ in range(round(WITHOUT_A_PLACE.burst) + 100):
        connections.peers.exceed("proxy")
    assert connections.closed == []


def test_a_stranger_without_a_place_loses_the_connection() -> None:
    connections = Connections()
    connections.peers.exceed("new")
    assert connections.closed == []
    connections.peers.meet("a")
    connections.peers.exceed("a")
    assert connections.closed == ["a"]


def test_a_connection_is_new_until_one_of_its_calls_begins() -> None:
    connections = Connections()
    found = []
    for _ in range(2):
        group = connections.peers.arrive("a")
        assert isinstance(group, Stranger)
        found.append(group.is_new)
        connections.peers.begin("a")
    assert found == [True, False]


def test_those_that_came_longest_ago_are_forgotten() -> None:
    peers = Peers(max_peers=2)
    peers.identify("a", ANN)
    peers.identify("b", BOB)
    assert peers.arrive("a") == ANN.memory_id
    peers.identify("c", BOB)
    assert peers.arrive("a") == ANN.memory_id
    assert peers.arrive("b") == Stranger("b")
