from __future__ import annotations

import asyncio
import json
import threading
from datetime import UTC, datetime

import pytest
from google.protobuf import json_format

from server.domain.journal.events import Event, Outcome, Terminal, Token
from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment
from server.domain.streams.pages import EventPage
from server.encoding.event_batch import delimited_event
from server.wire import messages as m
from server.wire import rendering
from server.wire.codec import ProtobufCodec
from server.wire.large_events import MAX_EVENT_BYTES
from server.wire.server_sent_events import ServerSentEvents
from server.wire.text import dumps, dumps_in_steps
from tests.contract.schema.golden_events import EVENTS

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HEAD = JournalHead(last_seq=0, epoch=1, floor=1, terminal=False)
NAMED, UNNAMED = ServerSentEvents(), ServerSentEvents(named=False)


def segment_of(events: list[Event]) -> Segment:
    codec = ProtobufCodec()
    batch = b"".join(delimited_event(codec.encode(event)) for event in events)
    first = events[0].seq
    return Segment(first, first + len(events) - 1, batch, b"\0" * len(events))


SEGMENT = segment_of(list(EVENTS.values()))


def messages(segment: Segment) -> list[m.Event]:
    return [m.Event.FromString(event) for event in segment.events()]


def test_the_binary_rendering_is_a_response_with_the_events() -> None:
    response = m.WatchRefinementResponse.FromString(rendering.event_batch_response(SEGMENT))
    assert list(response.batch.events) == messages(SEGMENT)
    assert response.SerializeToString(deterministic=True) == rendering.event_batch_response(SEGMENT)


async def test_several_segments_make_one_response() -> None:
    parts = [SEGMENT.up_to(5), SEGMENT.after(5)]
    made = [each async for each in rendering.event_batch_responses(parts, MAX_EVENT_BYTES)]
    assert made == [rendering.event_batch_response(SEGMENT)]


def test_the_json_rendering_is_the_same_response() -> None:
    text = b"".join(rendering.batch_json_parts(SEGMENT))
    parsed = json_format.Parse(text, m.WatchRefinementResponse())
    assert list(parsed.batch.events) == messages(SEGMENT)


async def test_each_server_sent_event_has_seq_kind_and_json_on_one_line() -> None:
    blocks = (await NAMED.segment(SEGMENT, HEAD)).decode().removesuffix("\n\n").split("\n\n")
    assert len(blocks) == len(EVENTS)
    for block, message in zip(blocks, messages(SEGMENT), strict=True):
        identity, kind, data = block.split("\n")
        assert identity == f"id: {message.seq}"
        assert kind == f"event: {message.WhichOneof('kind')}"
        assert json_format.Parse(data.removeprefix("data: "), m.Event()) == message


async def test_without_names_every_message_has_the_form_of_the_json_subprotocol() -> None:
    blocks = (await UNNAMED.segment(SEGMENT, HEAD)).decode().removesuffix("\n\n").split("\n\n")
    for block, message in zip(blocks, messages(SEGMENT), strict=True):
        identity, data = block.split("\n")
        assert identity == f"id: {message.seq}"
        assert json_format.Parse(data.removeprefix("data: "), m.Event()) == message
    assert ServerSentEvents(named=False, hello_has_id=True).hello(
        HEAD, 7
    ) == b"id: 7\ndata: %b\n\n" % rendering.hello_json(HEAD)
    assert UNNAMED.heartbeat(7) == b"data: %b\n\n" % rendering.heartbeat_json(7)
    assert UNNAMED.reconnect(0.5) == b"retry: 500\ndata: %b\n\n" % rendering.reconnect_json(0.5)
    assert NAMED.reconnect(0.5) == b'retry: 500\nevent: reconnect\ndata: {"after_ms":500}\n\n'


async def test_renderings_are_made_once_and_shared() -> None:
    segment = segment_of([Event(1, 1, NOW, Token(text="a")), Event(2, 1, NOW, Terminal(Outcome.COMPLETED))])
    assert rendering.event_batch_response(segment) is rendering.event_batch_response(segment)
    for named in (True, False):
        first, second = (ServerSentEvents(named, hello_has_id=has_id) for has_id in (True, False))
        assert await first.segment(segment, HEAD) is await second.segment(segment, HEAD)
    both = zip(rendering.event_jsons(segment), rendering.event_jsons(segment), strict=True)
    assert all(one is other for one, other in both)


@pytest.mark.parametrize("text", ["a", "a" * 200_000])
async def test_a_segment_counts_the_bytes_of_its_renderings(text: str) -> None:
    told: list[int] = []
    events = [Event(1, 1, NOW, Token(text=text)), Event(2, 1, NOW, Terminal(Outcome.COMPLETED))]
    segment = segment_of(events).observed_by(lambda _, size: told.append(size))
    before = segment.size_bytes
    rendering.event_jsons(segment.after(1))
    made = [await NAMED.segment(segment, HEAD), *rendering.event_jsons(segment)]
    assert segment.size_bytes - before == sum(told)
    assert sum(map(len, made)) <= sum(told) < sum(map(len, made)) + 1000


async def test_a_large_segment_is_rendered_once_beside_the_event_loop() -> None:
    """Also for readers who come while that is done, and when the first of them leaves."""
    threads: list[int] = []

    def render(shared: Segment) -> bytes:
        threads.append(threading.get_ident())
        return shared.batch[:10]

    segment = segment_of([Event(1, 1, NOW, Token(text="a" * 200_000))])
    first, second, third = (asyncio.create_task(segment.prepared("key", render)) for _ in range(3))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, second, third, return_exceptions=True)
    assert segment.cached("key", render) == segment.batch[:10]
    assert len(threads) == 1
    assert threads != [threading.get_ident()]


def test_json_that_is_made_in_steps_is_the_same() -> None:
    file = {"text": 'ñ"\\\n\0\U0001f600', "size": 1.5, "binary": True, "none": None, "empty": [{}, []]}
    for value in ({"files": [file] * 9999, "last": "x"}, {str(at): at for at in range(9999)}, "", [], {}):
        assert dumps_in_steps(value) == dumps(value)


def test_hello_and_heartbeat_have_every_number_even_zero() -> None:
    assert json.loads(rendering.hello_json(HEAD)) == {
        "hello": {"epoch": 1, "last_seq": 0, "floor": 1, "recovered": True}
    }
    assert json.loads(rendering.heartbeat_json(0)) == {"heartbeat": {"last_seq": 0, "progress": ""}}
    assert m.WatchRefinementResponse.FromString(rendering.hello(HEAD)) == json_format.Parse(
        rendering.hello_json(HEAD), m.WatchRefinementResponse()
    )
    assert m.WatchRefinementResponse.FromString(rendering.heartbeat(7, "50 %\ud800")) == json_format.Parse(
        rendering.heartbeat_json(7, "50 %\ud800"), m.WatchRefinementResponse()
    )


def test_signs_of_life_over_sse_move_no_cursor() -> None:
    assert NAMED.heartbeat(7) == b'event: heartbeat\ndata: {"last_seq":7,"progress":""}\n\n'
    assert NAMED.hello(HEAD, 7).startswith(b"event: hello\ndata: {")
    assert ServerSentEvents(hello_has_id=True).hello(HEAD, 7).startswith(b"id: 7\nevent: hello\ndata: {")


async def test_a_page_of_events_has_the_events_the_next_cursor_and_the_head() -> None:
    page = EventPage((SEGMENT.up_to(5), SEGMENT.after(5)), HEAD, SEGMENT.last_seq, complete=True)
    told = json.loads(await rendering.events_page_json(page))
    events = [json_format.ParseDict(item, m.Event()) for item in told.pop("items")]
    assert events == messages(SEGMENT)
    assert told == {
        "next_cursor": SEGMENT.last_seq,
        "complete": True,
        "epoch": HEAD.epoch,
        "last_seq": HEAD.last_seq,
        "floor": HEAD.floor,
    }
    empty = json.loads(await rendering.events_page_json(EventPage((), HEAD, 9, complete=False)))
    assert (empty["items"], empty["next_cursor"], empty["complete"]) == ([], 9, False)
