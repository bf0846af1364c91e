"""Server-sent events are read whatever the pieces in which they come, and in bounded memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.agent_server.events import (
    MAX_EMPTY_EVENTS,
    MAX_LINES,
    READ_AHEAD_BYTES,
    ServerEvent,
    ServerEvents,
)
from server.agent_server.repeats import Repeats
from server.agent_server.run_frames import RunFrames
from server.domain.runs.runtime import OversizedFrame, StreamClosed, admit_at_once
from tests.support.agent_server import recorded

MAX_BYTES = 1 << 20


class Body:
    """A body in pieces. read: how many were taken."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces, self.read = pieces, 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            self.read += 1
            yield piece


async def events_in(*pieces: bytes, max_bytes: int = MAX_BYTES) -> list[ServerEvent | OversizedFrame]:
    """The events of a body."""
    events = ServerEvents(aiter(Body(pieces)), max_bytes=max_bytes, admit=admit_at_once)
    return [event async for together in events for event in together]


async def test_what_the_server_sent_is_events_without_its_comments() -> None:
    body = b": heartbeat\r\n\r\n" + recorded("completed", "stream.sse") + b": heartbeat\r\n\r\n"
    events = await events_in(body)
    assert len(events) == body.count(b"event: ")
    assert all(isinstance(event, ServerEvent) for event in events)
    names = [event.name for event in events if isinstance(event, ServerEvent)]
    assert names[:2] == [b"metadata", b"values"]
    assert set(names) == {b"metadata", b"values", b"messages"}


@given(cuts=st.lists(st.integers(0, 20_000), max_size=30))
async def test_the_events_are_the_same_whatever_the_pieces_are(cuts: list[int]) -> None:
    body = recorded("asks", "stream.sse")
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[start:end] for start, end in pairwise(places) if start < end]
    assert await events_in(*pieces) == await events_in(body)


@pytest.mark.parametrize("line", [b"\n", b"\r\n"])
async def test_lines_may_end_in_either_way_and_data_may_have_several(line: bytes) -> None:
    body = line.join([b"event: values", b"data: 1", b"data:2", b"id: 7-0", b"retry: 5", b"", b""])
    assert await events_in(body) == [ServerEvent(b"values", b"1\n2", b"7-0")]
    assert await events_in(*(bytes([byte]) for byte in body)) == [ServerEvent(b"values", b"1\n2", b"7-0")]


async def test_an_event_that_is_not_complete_at_the_end_is_left_out() -> None:
    assert await events_in(b"event: values\r\ndata: {}\r\n") == []


@pytest.mark.parametrize("piece_bytes", [1000, 65536, 1 << 22])
async def test_an_event_that_is_too_large_is_skipped_and_its_size_is_known(piece_bytes: int) -> None:
    large = b"event: values\ndata: " + b"x" * 300_000 + b"\n\n"
    body = b"event: a\ndata: 1\n\n" + large + b"event: b\ndata: 2\n\n"
    pieces = [body[start : start + piece_bytes] for start in range(0, len(body), piece_bytes)]
    first, *skipped, last = await events_in(*pieces, max_bytes=100_000)
    assert (first, last) == (ServerEvent(b"a", b"1", b""), ServerEvent(b"b", b"2", b""))
    assert len(skipped) == 1
    assert isinstance(skipped[0], OversizedFrame)
    assert skipped[0].size_bytes == len(large) - 2


async def test_no_more_than_a_little_of_a_large_event_is_read_before_there_is_room_for_it() -> None:
    piece = b"x" * 10_000
    body = Body([b"event: values\ndata: ", *[piece] * 20, b"\n\n"])
    admitted: list[tuple[int, int]] = []

    async def admit(size_bytes: int) -> None:
        admitted.append((size_bytes, body.read))

    events = ServerEvents(aiter(body), max_bytes=MAX_BYTES, admit=admit)
    [event] = await anext(events)
    assert isinstance(event, ServerEvent)
    assert event.data == piece * 20
    [(size_bytes, read)] = admitted
    assert size_bytes == MAX_BYTES
    assert read * len(piece) <= READ_AHEAD_BYTES + 2 * len(piece)


async def test_room_is_asked_for_before_small_events_are_given() -> None:
    admitted: list[int] = []

    async def admit(size_bytes: int) -> None:
        admitted.append(size_bytes)

    events = ServerEvents(aiter(Body([b"data: 123\n\ndata: 4\n\n"])), max_bytes=MAX_BYTES, admit=admit)
    assert len(await anext(events)) == 2
    assert admitted == [4]


async def test_an_event_of_many_lines_is_skipped() -> None:
    """Each of them takes time, and an event of the server's has one."""
    lines = b"data: x\n" * MAX_LINES
    assert len(await events_in(lines + b"\n")) == 1
    assert await events_in(b"data: a\n" + lines + b"data: b\n\n") == [OversizedFrame(len(lines) + 15)]


@pytest.mark.parametrize("nothing", [b": comment\n\n", b"\n\n", b"event: values\n\n"])
async def test_comments_without_end_break_the_stream(nothing: bytes) -> None:
    """Each takes time, and nothing that they say waits for capacity."""
    events = ServerEvents(
        aiter(Body([nothing] * (MAX_EMPTY_EVENTS + 1))), max_bytes=MAX_BYTES, admit=admit_at_once
    )
    with pytest.raises(StreamClosed, match="without content"):
        await anext(events)


async def test_events_of_which_no_frame_is_made_break_the_stream_when_they_have_no_end() -> None:
    body = Body([b"event: metadata\ndata: {}\n\n"] * (MAX_EMPTY_EVENTS + 1))
    events = ServerEvents(aiter(body), max_bytes=MAX_BYTES, admit=admit_at_once)

    async def recall(event_id: bytes) -> list[bytes]:
        return []

    async def ending(asked: bool) -> list[bytes]:
        return []

    with pytest.raises(StreamClosed, match="without content"):
        [frame async for frame in RunFrames(events, Repeats(recall), ending)]
