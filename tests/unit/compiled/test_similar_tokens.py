"""Token frames, most of which differ in their text alone: taken together, they mean what each means to the
parser."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.compiled.spliced import SplicingInterpreter
from server.domain.journal.events import Event, Token
from server.encoding.event_batch import delimited_event
from tests.support.recordings import NAMES, frames
from tests.unit.compiled.forms import CODEC, Form, parsed, together, tokens_again
from tests.unit.frames import printed_messages


def token_frame(text: str, *, message_id: str = "run--1", node: str = "agent") -> bytes:
    """A token frame as the runtime prints it."""
    printed = (
        f"(AIMessageChunk(content={text!r}, additional_kwargs={{}}, response_metadata={{}}, "
        f"id={message_id!r}), {{'langgraph_step': 3, 'langgraph_node': {node!r}}})"
    )
    return printed_messages.token_frame(printed)


@pytest.mark.parametrize("sizes", [(1,), (2, 3), (64,), (10_000,)])
@pytest.mark.parametrize("name", NAMES)
def test_a_recording_means_the_same_together_and_to_the_parser(
    form: Form, name: str, sizes: tuple[int, ...]
) -> None:
    sent = frames(name)
    read = together(form, sent, sizes)
    assert (read.events, read.digests) == parsed(sent)
    sent_tokens = [frame for frame in sent if b'"on_llm_stream"' in frame]
    assert tokens_again(read.deltas) == sent_tokens
    if form is SplicingInterpreter:
        # Most pieces of its tool calls are long, and come one at a time.
        assert read.taken > len(sent_tokens) * (0.9 if name == "long_run" else 0.2)
    else:
        assert read.taken == len(sent_tokens)


TEXTS = st.one_of(
    st.sampled_from(
        ["", " the", "\n", '"', "'", "\\", "a\\nb", '\\"', "\t", "é", "😀", "\ud800", "\x00", "x" * 127]
    ),
    st.text(max_size=12),
    st.text(alphabet="ab \n\"'\\é", max_size=130),
)


@given(
    st.lists(st.tuples(TEXTS, st.sampled_from(["run--1", "run--2", "it's"])), max_size=12),
    st.lists(st.integers(1, 5), min_size=1, max_size=3),
)
def test_any_tokens_mean_the_same_together_and_to_the_parser(
    form: Form, pieces: list[tuple[str, str]], sizes: list[int]
) -> None:
    sent = [token_frame(" first")] + [token_frame(text, message_id=message_id) for text, message_id in pieces]
    read = together(form, sent, sizes)
    assert (read.events, read.digests) == parsed(sent)
    assert tokens_again(read.deltas) == sent


@given(st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1), st.datetimes(timezones=st.just(UTC)))
def test_a_tokens_event_has_the_seq_the_epoch_and_the_time_that_it_is_given(
    form: Form, seq: int, epoch: int, time: datetime
) -> None:
    interpreter, first, second = form(), token_frame(" first"), token_frame(" second")
    [kind] = interpreter.interpret(first).kinds
    assert isinstance(kind, Token)
    found = interpreter.token_entries([second], 0, first_seq=seq, epoch=epoch, time=time)
    assert found is not None
    event = Event(seq, epoch, time, replace(kind, text=" second"))
    assert found[1] == delimited_event(CODEC.encode(event))


@given(st.lists(st.binary(max_size=8), max_size=4))
def test_any_bytes_between_mean_the_same_together_and_to_the_parser(form: Form, texts: list[bytes]) -> None:
    before, _, after = token_frame("TEXT").partition(b"TEXT")
    sent = [token_frame(" first")] + [before + text + after for text in texts]
    read = together(form, sent, [len(sent)])
    assert (read.events, read.digests) == parsed(sent)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity"])
@pytest.mark.parametrize("sizes", [(1,), (10_000,)])
def test_each_token_frame_with_a_number_that_json_does_not_have_is_given_again_as_proper_json(
    form: Form, number: bytes, sizes: tuple[int, ...]
) -> None:
    sent = [token_frame(text) for text in (" first", " second", " third", " fourth")]
    sent[1:3] = [frame.removesuffix(b"}") + b', "score": ' + number + b"}" for frame in sent[1:3]]
    read = together(form, sent, sizes)
    assert [kind.text for event in read.events if isinstance(kind := CODEC.decode(event).kind, Token)] == [
        " first",
        " second",
        " third",
        " fourth",
    ]
    for again in tokens_again(read.deltas)[1:3]:
        assert msgspec.json.decode(again)["score"] == number.decode()


def test_line_feeds_and_double_quotes_are_similar_texts(form: Form) -> None:
    texts = [" first", "\n", 'name: "x"', "", "\n\n", " é"]
    sent = [token_frame(text) for text in texts]
    sent[-1] = json.dumps(json.loads(sent[-1]), ensure_ascii=False, separators=(",", ":")).encode()
    read = together(form, sent, [len(sent)])
    assert read.taken == len(texts) - (form is SplicingInterpreter)
    kinds = [CODEC.decode(event).kind for event in read.events]
    assert [kind.text for kind in kinds if isinstance(kind, Token)] == texts


METADATA = {"langgraph_node": "model", "langgraph_checkpoint_ns": "model:1"}


def message(content: object, **members: object) -> dict[str, object]:
    """The members of a piece of a message."""
    return {"content": content, "additional_kwargs": {}, "id": "run--1", "tool_calls": [], **members}


def call_piece(text: str, *, index: int | None = 0, call_id: str | None = None) -> dict[str, object]:
    """A piece of a tool call whose arguments are not JSON by themselves, as the framework gives it."""
    call = {"name": None, "args": text, "id": call_id}
    invalid = [{**call, "error": None, "type": "invalid_tool_call"}]
    chunks = [{**call, "index": index, "type": "tool_call_chunk"}]
    return message("", invalid_tool_calls=invalid, tool_call_chunks=chunks)


def json_delta(text: str) -> dict[str, object]:
    """A piece of a tool call with the provider's own block beside it."""
    block = {"partial_json": text, "type": "input_json_delta", "index": 1}
    return {**call_piece(text, index=1), "content": [block]}


#: What each text may come in, and whether an empty one is similar to the others.
SHAPES: dict[str, tuple[Callable[[str], dict[str, object]], bool]] = {
    "text": (lambda text: message(text), True),
    "block": (lambda text: message([{"type": "text", "text": text, "index": 0}]), True),
    "call": (lambda text: call_piece(text), False),
    "call without a number": (lambda text: call_piece(text, index=None), False),
    "call with its id": (lambda text: call_piece(text, index=None, call_id="c1"), False),
    "provider's block": (json_delta, False),
    "thoughts": (lambda text: message([{"type": "thinking", "thinking": text, "index": 0}]), False),
    "thoughts beside": (lambda text: message("", additional_kwargs={"reasoning_content": text}), False),
}


def printed_frame(members: Mapping[str, object]) -> bytes:
    """A piece in printed form."""
    arguments = ", ".join(f"{name}={value!r}" for name, value in members.items())
    return printed_messages.token_frame(f"(AIMessageChunk({arguments}), {METADATA!r})")


def listed_frame(members: Mapping[str, object]) -> bytes:
    """A piece as JSON, as a list with its metadata."""
    pair = [{"type": "AIMessageChunk", **members}, METADATA]
    return json.dumps(
        {"event_type": "on_llm_stream", "data": {"raw_event": pair}}, ensure_ascii=False
    ).encode("utf-8", "replace")


def pair_frame(members: Mapping[str, object]) -> bytes:
    """A piece as a part of the framework's own stream."""
    pair = [{"type": "AIMessageChunk", **members}, METADATA]
    return json.dumps({"type": "messages", "ns": [], "data": pair}, separators=(",", ":")).encode()


ENVELOPES = {"printed": printed_frame, "listed": listed_frame, "pair": pair_frame}


@pytest.mark.parametrize("envelope", ENVELOPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_pieces_of_every_shape_are_similar(form: Form, shape: str, envelope: str) -> None:
    make, empty = SHAPES[shape]
    texts = [
        " first",
        " second",
        "\n",
        'name: "x"',
        "it's",
        'it\'s "it"',
        "\\n",
        "é",
        " " * 200,
        *[""] * empty,
    ]
    sent = [ENVELOPES[envelope](make(text)) for text in texts]
    read = together(form, sent, [3])
    assert (read.events, read.digests) == parsed(sent)
    assert tokens_again(read.deltas) == sent
    assert read.taken == len(texts) - 1 or form is not SplicingInterpreter


@pytest.mark.parametrize("envelope", ENVELOPES)
@given(
    st.lists(st.tuples(TEXTS, st.sampled_from([*SHAPES, "call", "call"])), max_size=12),
    st.lists(st.integers(1, 5), min_size=1, max_size=3),
)
def test_pieces_of_any_shapes_mean_the_same_together_and_to_the_parser(
    form: Form, envelope: str, pieces: list[tuple[str, str]], sizes: list[int]
) -> None:
    sent = [
        ENVELOPES[envelope](SHAPES[shape][0](text)) for text, shape in pieces for text in (text, text + "x")
    ]
    read = together(form, sent, sizes)
    assert (read.events, read.digests) == parsed(sent)
    assert tokens_again(read.deltas) == sent


def test_the_number_of_a_call_is_the_one_that_the_frames_before_give_it(form: Form) -> None:
    begin = [{"name": "f", "args": "", "id": "c2", "index": None}]
    pieces = [call_piece(text, index=None) for text in (" a", " b", " name", " c")]
    other = message("", tool_call_chunks=begin)
    # The text of one piece is that of another member, so that its form is not seen.
    hidden = call_piece("model", index=None)
    sent = [printed_frame(piece) for piece in (*pieces[:2], other, hidden, *pieces[2:], other, *pieces)]
    read = together(form, sent, [len(sent)])
    assert (read.events, read.digests) == parsed(sent)


@pytest.mark.parametrize(
    "around",
    [
        # Elsewhere, the same text decides what kind of a frame it is.
        b'{"event_type":%s,"data":{"raw_event":[{"type":"ai","content":%s},{}]}}',
        b'{"event_type":"on_llm_stream","data":{"raw_event":[{"type":%s,"content":%s},{}]}}',
        b'{"event_type":"on_llm_stream","data":{"raw_event":[{"type":"ai","content":%s},{"langgraph_node":%s}]}}',
        b'{"event_type":"on_llm_stream","data":{"raw_event":[{"type":"ai","content":"",%s:"y","id":%s},{}]}}',
        # The text is not that of a message.
        b'{"event_type":"on_llm_stream","data":{"raw_event":%s,"x":%s}}',
    ],
)
def test_a_text_that_means_something_else_as_well_is_left_to_the_parser(form: Form, around: bytes) -> None:
    texts = [
        "on_llm_stream",
        "end",
        "error",
        "ai",
        "human",
        "content",
        "(AIMessageChunk(content='x'), {})",
        " a",
    ]
    sent = [around % ((json.dumps(text).encode(),) * around.count(b"%s")) for text in texts]
    read = together(form, sent, [len(sent)])
    assert read.taken == 0
    assert read.events == parsed(sent)[0]


def test_a_text_inside_another_string_is_left_to_the_parser(form: Form) -> None:
    before = "(AIMessageChunk(content=%s, response_metadata={'quoted': \"say %s\"}, id='m'), {})"
    texts = [" a", " b", 'c", d']
    sent = [printed_messages.token_frame(before % (repr(text), repr(text))) for text in texts]
    read = together(form, sent, [len(sent)])
    assert (read.events, read.digests) == parsed(sent)
    assert read.taken == 0


def test_a_text_with_a_lone_surrogate_marks_its_own_event_alone(form: Form) -> None:
    sent = [token_frame(text) for text in ("\ud800", " a", " b", "\ud800", " c")]
    read = together(form, sent, [len(sent)])
    assert (read.events, read.digests) == parsed(sent)
    assert read.taken == 3
    kinds = [CODEC.decode(event).kind for event in read.events]
    assert [isinstance(kind, Token) and kind.uninterpreted for kind in kinds] == [
        True,
        False,
        False,
        True,
        False,
    ]


def test_a_frame_that_is_not_proper_json_is_kept_as_json(form: Form) -> None:
    sent = [token_frame(text).replace(b"{", b'{"at":NaN,', 1) for text in (" a", " b", " c")]
    read = together(form, sent, [len(sent)])
    assert (read.events, read.digests) == parsed(sent)
    assert read.taken == 0
    assert [json.loads(text)["at"] for text in tokens_again(read.deltas)] == ["NaN"] * 3
