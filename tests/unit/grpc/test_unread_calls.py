"""The limits of calls whose request has not arrived, with requests that arrive when the test says so."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from server.domain.errors import ClientTooSlow, InvalidArgument, LimitReached
from server.grpc.unread_calls import MAX_RECEIVED, MAX_RECEIVED_OF_ONE, Group, UnreadCalls
from tests.support.hand_clock import PATIENCE_S, until

ANN = Group("ann", 4, 3)


class Counts:
    """What was cut off."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()

    def on_cut_off(self, reason: str) -> None:
        self.reasons[reason] += 1


class Callers:
    """Calls of one server."""

    def __init__(self, **times: float) -> None:
        self.counts = Counts()
        self.unread = UnreadCalls(self.counts, **times)
        self.reading = 0

    def send_nothing(self, caller: str, group: Group) -> asyncio.Task[bytes]:
        """A call whose request never arrives."""

        async def never() -> object:
            self.reading += 1
            try:
                return await asyncio.Event().wait()
            finally:
                self.reading -= 1

        return asyncio.create_task(self.unread.request(never, caller, group))

    async def send(self, caller: str, group: Group, request: object = b"x") -> bytes:
        """A call whose request is there."""

        async def there() -> object:
            return request

        return await self.unread.request(there, caller, group)


async def test_a_request_that_does_not_arrive_is_given_up() -> None:
    callers = Callers(deadline_s=0.05)
    with pytest.raises(ClientTooSlow):
        await callers.send_nothing("ann", ANN)
    assert callers.counts.reasons == {"late_request": 1}
    assert (callers.reading, await callers.send("ann", ANN)) == (0, b"x")


async def test_an_end_instead_of_a_request_is_an_invalid_argument() -> None:
    with pytest.raises(InvalidArgument):
        await Callers().send("ann", ANN, object())


async def test_a_caller_has_so_many_calls_without_a_request() -> None:
    callers = Callers(undisturbed_s=0)
    silent = [callers.send_nothing("ann", ANN) for _ in range(ANN.max_of_one)]
    await until(lambda: callers.reading == ANN.max_of_one)
    with pytest.raises(LimitReached):
        await callers.send("ann", ANN)
    assert callers.counts.reasons == {"unread_calls": 1}
    assert await callers.send("a link of ann's", ANN) == b"x"
    silent.pop().cancel()
    await until(lambda: callers.reading < ANN.max_of_one)
    assert await callers.send("ann", ANN) == b"x"
    for call in silent:
        call.cancel()


async def test_a_call_that_has_just_begun_need_not_make_room() -> None:
    callers = Callers(undisturbed_s=60)
    silent = [callers.send_nothing(f"link {n}", ANN) for n in range(ANN.max_calls)]
    await until(lambda: callers.reading == ANN.max_calls)
    with pytest.raises(LimitReached):
        await callers.send("ann", ANN)
    for call in silent:
        call.cancel()


async def test_a_links_calls_make_room_for_its_makers() -> None:
    callers = Callers(undisturbed_s=0)
    silent = [callers.send_nothing("link", ANN) for _ in range(3)]
    silent.append(callers.send_nothing("another link", ANN))
    await until(lambda: callers.reading == 4)
    assert await callers.send("ann", ANN) == b"x"
    assert await callers.send("bob", Group("bob", 4, 3)) == b"x"
    with pytest.raises(ClientTooSlow):
        await silent[0]
    assert not any(call.done() for call in silent[1:])
    for call in silent:
        call.cancel()


async def test_few_requests_are_received_at_a_time_and_those_that_do_not_arrive_make_room() -> None:
    callers = Callers(undisturbed_s=0.01)
    wide = Group("all", 1000, 1000)
    silent = [
        callers.send_nothing(f"caller {n}", wide)
        for n in range(2 * MAX_RECEIVED // MAX_RECEIVED_OF_ONE)
        for _ in range(2 * MAX_RECEIVED_OF_ONE)
    ]
    await until(lambda: callers.reading == MAX_RECEIVED // 2)
    async with asyncio.timeout(PATIENCE_S):
        assert await callers.send("ann", wide) == b"x"
    assert callers.reading <= MAX_RECEIVED // 2
    for call in silent:
        call.cancel()
    await asyncio.gather(*silent, return_exceptions=True)
    unread = callers.unread
    assert (callers.reading, unread._callers, unread._groups, unread._received) == (0, {}, {}, {})


async def test_requests_of_one_group_that_do_not_arrive_keep_no_other_waiting() -> None:
    callers = Callers(undisturbed_s=60)
    wide = Group("all", 1000, 1000)
    silent = [callers.send_nothing(f"caller {n // 8}", wide) for n in range(2 * MAX_RECEIVED)]
    await until(lambda: callers.reading == MAX_RECEIVED // 2)
    async with asyncio.timeout(PATIENCE_S):
        assert await callers.send("ann", ANN) == b"x"
    for call in silent:
        call.cancel()


async def test_where_all_places_are_taken_the_group_with_most_makes_room() -> None:
    callers = Callers(undisturbed_s=0.01)
    shares = {"a": 16, "b": 8, "c": 4, "d": 2, "e": 1, "f": 1}
    silent = [
        callers.send_nothing(f"{name} {n // MAX_RECEIVED_OF_ONE}", Group(name, 1000, 1000))
        for name, share in shares.items()
        for n in range(share)
    ]
    await until(lambda: callers.reading == MAX_RECEIVED)
    async with asyncio.timeout(PATIENCE_S):
        assert await callers.send("ann", ANN) == b"x"
    with pytest.raises(ClientTooSlow):
        await silent[0]
    assert not any(call.done() for call in silent[1:])
    for call in silent:
        call.cancel()


async def test_a_burst_of_requests_that_are_there_is_received_whole() -> None:
    callers = Callers()
    group = Group("ann", 2000, 1000)
    assert await asyncio.gather(*(callers.send("ann", group) for _ in range(500))) == [b"x"] * 500
    assert not callers.counts.reasons
