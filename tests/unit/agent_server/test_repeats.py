"""What a server sends twice on one connection is taken once, and nothing else is left out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.agent_server.events import ServerEvent, ServerEvents
from server.agent_server.repeats import MAX_PLACES, MAX_REPEATED, Repeats, digest_of
from server.domain.runs.runtime import OversizedFrame, StreamClosed, admit_at_once
from tests.support.agent_server import recorded


def event(milliseconds: int, data: str, number: int = 0) -> ServerEvent:
    """An event of that time."""
    return ServerEvent(b"messages", data.encode(), b"%d-%d" % (milliseconds, number))


async def kept(
    *events: ServerEvent, whole: Sequence[ServerEvent] = (), since_ms: int = 0
) -> list[ServerEvent]:
    """The events that are no repetition. whole: what the server keeps."""

    async def recall(event_id: bytes) -> list[bytes]:
        return [digest_of(each) for each in whole if each.id == event_id]

    repeats = Repeats(recall, since_ms=since_ms)
    return [each for each in events if not await repeats.repeated(each)]


async def events_of(body: bytes) -> list[ServerEvent]:
    """The events of a recorded stream."""

    async def pieces() -> AsyncIterator[bytes]:
        yield body

    events = ServerEvents(pieces(), max_bytes=1 << 20, admit=admit_at_once)
    return [each async for together in events for each in together if not isinstance(each, OversizedFrame)]


async def test_a_run_that_was_joined_while_it_went_on_has_each_event_once() -> None:
    joined = await events_of(recorded("joined", "stream.sse"))
    whole = await events_of(recorded("joined", "again.sse"))
    assert len(joined) > len(whole)
    assert await kept(*joined, whole=whole) == whole


@given(
    gaps=st.lists(st.integers(0, 2), min_size=2, max_size=40),
    words=st.lists(st.sampled_from("ab"), min_size=40, max_size=40),
    data=st.data(),
)
async def test_a_repetition_is_found_although_ids_and_words_are_not_unique(
    gaps: list[int], words: list[str], data: st.DataObject
) -> None:
    times = [100 + sum(gaps[: index + 1]) for index in range(len(gaps))]
    whole = [event(time, word) for time, word in zip(times, words, strict=False)]
    # The server subscribed before one of them, and had replayed all before another.
    first = data.draw(st.integers(0, len(whole)))
    last = data.draw(st.integers(first, len(whole)))
    assert await kept(*whole[:last], *whole[first:], whole=whole) == whole


async def test_the_server_is_not_asked_about_what_was_sent_long_before_the_connection() -> None:
    events = [event(1, "word"), event(1, "word"), event(1, "word")]
    assert await kept(*events, since_ms=2) == events
    assert await kept(*events, whole=events) == events
    assert await kept(*events, whole=events[:2]) == events[:2]


async def test_an_event_that_was_not_sent_before_is_new_although_the_clock_went_back() -> None:
    events = [event(5, "a"), event(6, "b"), event(2, "c"), event(3, "d")]
    assert await kept(*events) == events


async def test_ids_of_one_time_are_ordered_by_their_number() -> None:
    whole = [event(1, "word", 0), event(1, "word", 1), event(1, "word", 2)]
    assert await kept(*whole, *whole[1:]) == whole


@pytest.mark.parametrize("event_id", [b"", b"abc", b"1", b"-", b"9" * 60 + b"-0"])
async def test_events_whose_ids_tell_nothing_are_all_new(event_id: bytes) -> None:
    events = [ServerEvent(b"messages", b"1", event_id)] * 3
    assert await kept(*events) == events


async def test_a_repetition_that_becomes_another_ends_the_connection() -> None:
    events = [event(1, "a"), event(2, "b"), event(3, "c"), event(1, "a")]
    with pytest.raises(StreamClosed):
        await kept(*events, event(2, "other"))


async def test_a_repetition_is_not_searched_among_all_that_was_sent() -> None:
    """A server may send ids that go back without end, and each would be compared with everything before
    it."""
    events = [event(number, str(number)) for number in range(1, MAX_REPEATED + 2)]
    assert await kept(*events, events[1]) == events
    assert await kept(*events, events[0]) == [*events, events[0]]


async def test_a_repetition_that_may_begin_in_too_many_places_ends_the_connection() -> None:
    """Each is followed with each event: 20,000 that are the same would take milliseconds, again and again."""
    same = [event(1, "a")] * (MAX_PLACES + 1)
    assert await kept(*same[1:], event(2, "b"), same[0], since_ms=2) == [*same[1:], event(2, "b")]
    with pytest.raises(StreamClosed, match="too often"):
        await kept(*same, event(2, "b"), same[0], since_ms=2)


async def test_an_event_is_not_searched_among_all_that_came_under_its_id() -> None:
    """A server may send one id without end, and each event would be compared with everything before it."""

    async def recall(event_id: bytes) -> list[bytes]:
        raise StreamClosed("the server was asked")

    repeats = Repeats(recall)
    events = [event(1, str(number)) for number in range(MAX_REPEATED + 1)]
    for each in (*events, events[0]):
        assert not await repeats.repeated(each)
    with pytest.raises(StreamClosed):
        await repeats.repeated(events[2])
