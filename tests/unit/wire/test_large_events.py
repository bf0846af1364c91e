"""An event above a reader's limit: what is left out first, what stays, and that the rest always fits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.domain.errors import InvalidArgument
from server.domain.journal.segments import Segment
from server.encoding.event_batch import delimited_event
from server.wire import messages as m
from server.wire.large_events import KEPT_TEXT_BYTES, MAX_EVENT_BYTES, MIN_EVENT_BYTES, event_limit, fit_event
from server.wire.rendering import event_batch_response, event_batch_responses

#: What a client accepts by default.
DEFAULT_MESSAGE_BYTES = 4 << 20


def event(seq: int = 7) -> m.Event:
    made = m.Event(seq=seq, epoch=2)
    made.create_time.seconds = 1_700_000_000
    return made


def files(*sizes: int) -> m.Event:
    made = event()
    for number, size in enumerate(sizes):
        change = made.state_update.files.add(path=f"/{number}", kind=1, text="x" * size)  # type: ignore[arg-type]
        change.sha256, change.size_bytes = f"{number:064x}", size
    return made


def shown(whole: m.Event, max_bytes: int = MAX_EVENT_BYTES) -> m.Event:
    """What a reader gets, after checking what holds for all events."""
    data = whole.SerializeToString(deterministic=True)
    fitted = fit_event(data, max_bytes)
    assert fit_event(data, max_bytes) == fitted
    assert len(fitted) <= max_bytes
    got = m.Event.FromString(fitted)
    without = m.Event.FromString(fitted)
    without.ClearField("omitted_bytes")
    assert got.omitted_bytes == len(data) - without.ByteSize()
    assert (got.seq, got.epoch, got.create_time) == (whole.seq, whole.epoch, whole.create_time)
    assert got.WhichOneof("kind") == whole.WhichOneof("kind")
    return got


def test_an_event_that_fits_is_the_same_bytes() -> None:
    data = files(MAX_EVENT_BYTES - 200).SerializeToString()
    assert fit_event(data, MAX_EVENT_BYTES) is data


def test_the_largest_contents_go_first_and_their_digest_and_size_stay() -> None:
    got = shown(files(400_000, 3_000_000, 1_500_000, 900_000))
    assert not got.truncated
    left_out = [change for change in got.state_update.files if change.content_omitted]
    assert [change.path for change in left_out] == ["/1"]
    assert (left_out[0].sha256, left_out[0].size_bytes) == (f"{1:064x}", 3_000_000)
    assert left_out[0].WhichOneof("content") is None
    assert [len(change.text) for change in got.state_update.files] == [400_000, 0, 1_500_000, 900_000]


def test_many_files_of_one_update_lose_as_many_contents_as_necessary() -> None:
    got = shown(files(*[100_000] * 60))
    omitted = sum(change.content_omitted for change in got.state_update.files)
    assert (omitted, got.truncated, len(got.state_update.files)) == (29, False, 60)


def test_the_exact_form_of_a_content_goes_with_it() -> None:
    whole = event()
    text = "\ufffd" * 1_000_000
    whole.state_update.files.add(path="/a", text=text, sanitized=True, exact='{"text":"' + text + '"}')
    [change] = shown(whole).state_update.files
    assert (change.content_omitted, change.exact, change.sanitized) == (True, "", True)


def test_binary_contents_go_like_texts() -> None:
    whole = event()
    whole.state_update.files.add(path="/a", binary=b"\xff" * 5_000_000)
    [change] = shown(whole).state_update.files
    assert (change.content_omitted, change.binary) == (True, b"")


def _message(whole: m.Event) -> None:
    whole.state_update.messages.add().message.text = "€" * 5_000_000


def _arguments(whole: m.Event) -> None:
    whole.state_update.messages.add().message.tool_calls.add(name="write", arguments="{" * 5_000_000)


def _token(whole: m.Event) -> None:
    whole.token.text = "x" * 5_000_000


def _token_arguments(whole: m.Event) -> None:
    whole.token.tool_calls.add(arguments="x" * 5_000_000)


def _frame(whole: m.Event) -> None:
    whole.upstream_frame.text = "\n" * 15_000_000


def _binary_frame(whole: m.Event) -> None:
    whole.upstream_frame.binary = b"\xff" * 15_000_000


def _question(whole: m.Event) -> None:
    whole.input_requested.request = "?" * 5_000_000


def _reason(whole: m.Event) -> None:
    whole.terminal.message = "x" * 5_000_000


def _extra(whole: m.Event) -> None:
    whole.state_update.extra["todo"] = "1" * 5_000_000


def _unread(whole: m.Event) -> None:
    whole.state_update.unread_files.add(path="/a", json="[" * 5_000_000)


@pytest.mark.parametrize(
    "fill",
    [
        _message,
        _arguments,
        _token,
        _token_arguments,
        _frame,
        _binary_frame,
        _question,
        _reason,
        _extra,
        _unread,
    ],
)
def test_a_long_text_is_cut_off(fill: Callable[[m.Event], None]) -> None:
    whole = event()
    fill(whole)
    got = shown(whole)
    assert got.truncated
    assert KEPT_TEXT_BYTES - 4 <= got.ByteSize() <= KEPT_TEXT_BYTES + 200


def test_only_as_many_texts_are_cut_off_as_necessary() -> None:
    whole = event()
    for size in (1_000_000, 3_000_000, 1_500_000):
        whole.state_update.messages.add().message.text = "x" * size
    assert [len(change.message.text) for change in shown(whole).state_update.messages] == [
        1_000_000,
        KEPT_TEXT_BYTES,
        1_500_000,
    ]


@pytest.mark.parametrize("max_bytes", [MIN_EVENT_BYTES, MAX_EVENT_BYTES])
def test_lists_that_are_too_long_lose_their_last_elements(max_bytes: int) -> None:
    whole = files(*[10] * 100_000)
    got = shown(whole, max_bytes)
    assert got.truncated
    kept = len(got.state_update.files)
    assert list(got.state_update.files) == list(whole.state_update.files)[:kept]
    assert got.ByteSize() > max_bytes - 200


def test_a_path_is_never_cut_off() -> None:
    whole = event()
    whole.state_update.files.add(path="/a", text="a")
    whole.state_update.files.add(path="/" + "x" * 5_000_000, text="b")
    assert [change.path for change in shown(whole).state_update.files] == ["/a"]


def test_the_fields_of_a_newer_version_go_when_nothing_else_helps() -> None:
    newer = b"\xfa\x3e" + b"\xc0\x96\xb1\x02" + b"x" * 5_000_000
    whole = m.Event.FromString(event().SerializeToString() + newer)
    whole.token.SetInParent()
    assert shown(whole).truncated
    without_kind = m.Event.FromString(event().SerializeToString() + newer)
    assert shown(without_kind).truncated


_TEXTS = st.sampled_from(["", "a", "€", "x" * 5_000, "\N{GRINNING FACE}" * 20_000, "y" * 300_000])


@st.composite
def updates(draw: st.DrawFn) -> m.Event:
    made = event()
    update = made.state_update
    update.SetInParent()
    for text in draw(st.lists(_TEXTS, max_size=5)):
        update.files.add(path=draw(_TEXTS), text=text)
    for text in draw(st.lists(_TEXTS, max_size=5)):
        message = update.messages.add().message
        message.text = text
        for _ in range(draw(st.sampled_from([0, 1, 5_000]))):
            message.tool_calls.add(id="call", arguments=draw(_TEXTS) if text else "{}")
    for key in draw(st.lists(_TEXTS, max_size=3)):
        update.extra[key] = draw(_TEXTS)
    for text in draw(st.lists(_TEXTS, max_size=3)):
        update.todos.items.add(content=text)
    return made


@settings(max_examples=25)
@given(updates(), st.integers(MIN_EVENT_BYTES, 400_000))
def test_what_is_shown_always_fits(whole: m.Event, max_bytes: int) -> None:
    if whole.ByteSize() > max_bytes:
        shown(whole, max_bytes)


# --- Messages ------------------------------------------------------------------------------------


def segment(*events: m.Event) -> Segment:
    batch = b"".join(delimited_event(each.SerializeToString(deterministic=True)) for each in events)
    return Segment(events[0].seq, events[-1].seq, batch, b"\0" * len(events))


def sizes(*event_bytes: int, first_seq: int = 1) -> Segment:
    made = []
    for seq, size in enumerate(event_bytes, first_seq):
        each = event(seq)
        each.token.text = "x" * size
        made.append(each)
    return segment(*made)


async def all_of(each: Segment, max_event_bytes: int) -> list[bytes]:
    return [message async for message in event_batch_responses([each], max_event_bytes)]


async def responses(*segments: Segment, max_event_bytes: int = MAX_EVENT_BYTES) -> list[list[int]]:
    """The seqs of each message, after checking that each message is within the limit."""
    told = []
    async for message in event_batch_responses(segments, max_event_bytes):
        events = m.WatchRefinementResponse.FromString(message).batch.events
        assert len(message) <= max(max_event_bytes if len(events) == 1 else 0, MAX_EVENT_BYTES) + 16
        assert len(message) <= DEFAULT_MESSAGE_BYTES or max_event_bytes > MAX_EVENT_BYTES
        told.append([each.seq for each in events])
    return told


async def test_events_that_fit_together_are_one_message() -> None:
    assert await responses(sizes(10, 10), sizes(10, first_seq=3)) == [[1, 2, 3]]


async def test_events_before_and_after_a_large_one_do_not_wait_in_its_message() -> None:
    assert await responses(sizes(10), sizes(10, 2_900_000, 400_000, first_seq=2)) == [[1], [2, 3], [4]]


async def test_a_large_event_is_shown_between_its_neighbours() -> None:
    assert await responses(sizes(10, 20_000_000, 10)) == [[1, 2, 3]]


async def test_a_reader_with_a_larger_limit_gets_large_events_whole_and_alone() -> None:
    large = sizes(10, 20_000_000, 10)
    assert await responses(large, max_event_bytes=32 << 20) == [[1], [2], [3]]


async def test_a_reader_with_a_smaller_limit_gets_smaller_messages() -> None:
    async for message in event_batch_responses([sizes(*[30_000] * 10)], MIN_EVENT_BYTES):
        assert len(message) <= MIN_EVENT_BYTES + 16


async def test_what_a_default_reader_gets_of_a_large_segment_is_made_once() -> None:
    large = sizes(20_000_000, 10)
    first, second = [await all_of(large, MAX_EVENT_BYTES) for _ in range(2)]
    assert first == second
    assert large.size_bytes < len(large.batch) + 10_000
    await all_of(large, MIN_EVENT_BYTES)
    assert large.size_bytes < len(large.batch) + 20_000
    whole, again = [await all_of(large, 32 << 20) for _ in range(2)]
    assert all(one is other for one, other in zip(whole, again, strict=True))
    small = sizes(10)
    [message] = await all_of(small, MAX_EVENT_BYTES)
    assert message is event_batch_response(small)


@pytest.mark.parametrize("limit", [1, MIN_EVENT_BYTES - 1])
def test_a_limit_below_the_least_is_refused(limit: int) -> None:
    with pytest.raises(InvalidArgument) as refused:
        event_limit(limit)
    assert set(refused.value.fields) == {"max_event_bytes"}


def test_no_limit_means_the_default_and_others_are_few() -> None:
    assert event_limit(0) == event_limit(MAX_EVENT_BYTES) == MAX_EVENT_BYTES
    assert event_limit(MIN_EVENT_BYTES) == MIN_EVENT_BYTES
    assert event_limit(MAX_EVENT_BYTES - 1) == event_limit(2 << 20) == 2 << 20
    assert event_limit(0xFFFFFFFF) == 1 << 31
