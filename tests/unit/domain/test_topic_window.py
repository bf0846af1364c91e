"""What a topic counts of its window."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment
from server.domain.streams.shared_memory import SharedMemory
from server.domain.streams.topic import Topic
from server.encoding.event_batch import delimited_delta, delimited_event


def a_segment(first: int, last: int) -> Segment:
    count = last - first + 1
    return Segment(first, last, delimited_event(b"x") * count, delimited_delta(b"") * count)


def head(last_seq: int) -> JournalHead:
    return JournalHead(last_seq, 1, 1, terminal=False)


def noon() -> datetime:
    return datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_what_is_rendered_of_a_segment_that_has_left_the_window_is_not_counted() -> None:
    memory = SharedMemory()
    no_journal: Any = None
    topic = Topic(
        uuid4(),
        no_journal,
        memory,
        legacy_tokens=None,
        max_window_bytes=1 << 20,
        now=noon,
    )
    topic.extend(a_segment(1, 3), head(3))
    topic.extend(a_segment(4, 5), head(5))
    [rendered] = topic.segments_after(3) or []
    topic.rewind(head(3))
    topic.extend(a_segment(4, 4), head(4))
    before = topic.window_bytes
    rendered.cached("json", lambda _: b"j" * 1000)
    assert topic.window_bytes == before == memory.used_bytes
