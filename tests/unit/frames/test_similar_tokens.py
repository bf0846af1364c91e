"""Token frames that differ in their text alone: taken together, they mean what each means by itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.journal.events import Event, Token
from server.encoding.frame_delta import DeltaContext, Encoding, digest_of
from server.frames.interpreter import Interpreter
from server.wire.codec import ProtobufCodec
from tests.support.recordings import NAMES, frames
from tests.unit.frames import printed_messages

CODEC = ProtobufCodec()
TIME = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
EPOCH = 3


def token_frame(text: str, *, message_id: str = "run--1", node: str = "agent") -> bytes:
    """A token frame as the runtime prints it."""
    printed = (
        f"(AIMessageChunk(content={text!r}, additional_kwargs={{}}, response_metadata={{}}, "
        f"id={message_id!r}), {{'langgraph_step': 3, 'langgraph_node': {node!r}}})"
    )
    return printed_messages.token_frame(printed)


def one_by_one(sent: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
    """The events of the frames, and the frames again from their deltas."""
    interpreter, events = Interpreter(), list[bytes]()
    deltas: list[bytes] = []
    for frame in sent:
        meaning = interpreter.interpret(frame)
        for kind in meaning.kinds:
            events.append(CODEC.encode(Event(len(events) + 1, EPOCH, TIME, kind)))
        deltas.append(meaning.delta)
    return events, [digest_of(delta) or b"" for delta in deltas]


def together(
    sent: Sequence[bytes], sizes: Sequence[int]
) -> tuple[list[bytes], list[bytes], list[bytes], int]:
    """The same with the frames taken so many at a time; the deltas, too, and how many frames were taken
    as similar."""
    interpreter, encoder = Interpreter(), CODEC.token_encoder()
    events: list[bytes] = []
    digests: list[bytes] = []
    deltas: list[bytes] = []
    similar = start = 0
    turn = 0
    while start < len(sent):
        end = min(start + sizes[turn % len(sizes)], len(sent))
        turn += 1
        while start < end:
            tokens = interpreter.similar_tokens(sent[:end], start)
            if tokens is not None:
                events += encoder.encode(len(events) + 1, EPOCH, TIME, tokens.token, tokens.texts)
                digests += tokens.digests
                deltas += tokens.deltas
                similar += len(tokens.texts)
                start += len(tokens.texts)
                continue
            meaning = interpreter.interpret(sent[start])
            for kind in meaning.kinds:
                events.append(CODEC.encode(Event(len(events) + 1, EPOCH, TIME, kind)))
            digests.append(digest_of(meaning.delta) or b"")
            deltas.append(meaning.delta)
            start += 1
    return events, digests, deltas, similar


def tokens_again(deltas: Sequence[bytes]) -> list[bytes]:
    """The token frames of deltas."""
    context = DeltaContext()
    read = [context.decode(delta) for delta in deltas if delta]
    return [text for encoding, text in read if encoding is Encoding.TOKEN]


@pytest.mark.parametrize("sizes", [(1,), (2, 3), (64,), (10_000,)])
@pytest.mark.parametrize("name", NAMES)
def test_a_recording_means_the_same_together_and_one_by_one(name: str, sizes: tuple[int, ...]) -> None:
    sent = frames(name)
    events, digests, deltas, similar = together(sent, sizes)
    assert (events, digests) == one_by_one(sent)
    sent_tokens = [frame for frame in sent if b'"on_llm_stream"' in frame]
    assert tokens_again(deltas) == sent_tokens
    # The pieces of tool calls have other differences than in their text.
    assert similar > len(sent_tokens) * (0.9 if name == "long_run" else 0.2)


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
def test_any_tokens_mean_the_same_together_and_one_by_one(
    pieces: list[tuple[str, str]], sizes: list[int]
) -> None:
    sent = [token_frame(" first")] + [token_frame(text, message_id=message_id) for text, message_id in pieces]
    events, digests, deltas, _ = together(sent, sizes)
    assert (events, digests) == one_by_one(sent)
    assert tokens_again(deltas) == sent


@given(st.lists(st.binary(max_size=8), max_size=4))
def test_any_bytes_between_mean_the_same_together_and_one_by_one(texts: list[bytes]) -> None:
    before, _, after = token_frame("TEXT").partition(b"TEXT")
    sent = [token_frame(" first")] + [before + text + after for text in texts]
    events, digests, _, _ = together(sent, [len(sent)])
    assert (events, digests) == one_by_one(sent)


def test_line_feeds_and_double_quotes_are_similar_texts() -> None:
    texts = [" first", "\n", 'name: "x"', "", "\n\n", " é"]
    sent = [token_frame(text) for text in texts]
    sent[-1] = json.dumps(json.loads(sent[-1]), ensure_ascii=False).encode()
    events, _, _, similar = together(sent, [len(sent)])
    assert similar == len(texts) - 1
    read = [CODEC.decode(event).kind for event in events]
    assert [kind.text for kind in read if isinstance(kind, Token)] == texts
