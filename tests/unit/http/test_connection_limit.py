from __future__ import annotations

from server.http.connection_limit import MAX_GUESTS, ConnectionLimit


class Connection:
    """A connection that knows whether it had to make room."""

    def __init__(self) -> None:
        self.ended = False

    def make_room(self) -> None:
        self.ended = True


class Server:
    """Places, and the connections that are open."""

    def __init__(self, max_connections: int) -> None:
        self.limit = ConnectionLimit(max_connections)
        self.open: list[Connection] = []

    def connect(self) -> tuple[Connection, bool]:
        connection = Connection()
        self.open.append(connection)
        admitted = self.limit.enter(connection, len(self.open))
        for ended in [each for each in self.open if each.ended]:
            self.open.remove(ended)
            self.limit.leave(ended)
        return connection, admitted


def test_the_oldest_idle_connection_makes_room_for_a_new_one() -> None:
    server = Server(2)
    (one, _), (two, _) = server.connect(), server.connect()
    _, admitted = server.connect()
    assert (admitted, one.ended, two.ended) == (True, True, False)


def test_a_connection_is_idle_from_its_last_answer_on() -> None:
    server = Server(2)
    (one, _), (two, _) = server.connect(), server.connect()
    server.limit.busy(one)
    server.limit.idle(one)
    server.connect()
    assert (one.ended, two.ended) == (False, True)


def test_when_all_are_busy_new_ones_are_guests_of_which_the_oldest_makes_room() -> None:
    server = Server(2)
    busy = [server.connect()[0] for _ in range(2)]
    for each in busy:
        server.limit.busy(each)
    guests = [server.connect() for _ in range(MAX_GUESTS + 1)]
    assert not any(admitted for _, admitted in guests)
    assert [guest.ended for guest, _ in guests] == [True] + [False] * MAX_GUESTS
    assert not any(each.ended for each in busy)


def test_a_guest_takes_nobodys_place() -> None:
    server = Server(1)
    busy, _ = server.connect()
    server.limit.busy(busy)
    guest, _ = server.connect()
    server.limit.idle(guest)
    server.limit.idle(busy)
    _, admitted = server.connect()
    assert (admitted, busy.ended, guest.ended) == (True, True, False)
