"""Hypothesis strategies for domain events of every kind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from server.domain.journal.content import (
    Citation,
    ContentPart,
    Media,
    OtherContent,
    Refusal,
    ServerToolCall,
    ServerToolResult,
    Thinking,
)
from server.domain.journal.events import (
    AgentMessage,
    Discontinuity,
    DiscontinuityReason,
    Event,
    EventKind,
    FileChange,
    FrameReason,
    InputAction,
    InputAnswered,
    InputRequested,
    InvalidToolCall,
    MessageChange,
    Outcome,
    Role,
    RunStarted,
    StateUpdate,
    Terminal,
    Todo,
    Token,
    TokenUsage,
    ToolCall,
    ToolCallPiece,
    UnreadFile,
    UpstreamFrame,
)
from server.domain.proposals.files import File, text_bytes

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: From 1970 to 2200, to the microsecond.
TIMES = st.integers(0, 7_258_118_400_000_000).map(lambda us: EPOCH + timedelta(microseconds=us))
UINT32 = st.integers(0, 2**32 - 1)
CLEAN = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
#: Any code point, lone surrogates included.
ANY = st.text(st.characters(), max_size=20)


def files(text: st.SearchStrategy[str] = CLEAN) -> st.SearchStrategy[File]:
    """Files, text and binary, with other members."""
    time = st.none() | text
    extra = st.dictionaries(text, st.sampled_from(["1", "null", '"\\ud800"']), max_size=2)
    return st.builds(File, text.map(text_bytes), st.just(True), time, time, extra) | st.builds(
        File, st.binary(max_size=20), st.just(False), time, time, extra
    )


def file_changes(text: st.SearchStrategy[str] = CLEAN) -> st.SearchStrategy[FileChange]:
    """Files that were added, modified or deleted."""
    return st.builds(FileChange, text, files(text), st.booleans()) | st.builds(
        FileChange, text, st.none(), st.just(False)
    )


def _few(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(strategy, max_size=3).map(tuple)


def parts(text: st.SearchStrategy[str], number: st.SearchStrategy[int]) -> st.SearchStrategy[ContentPart]:
    """Content of every kind that is not text."""
    kind = st.one_of(
        st.builds(Thinking, text, text, text),
        st.builds(Media, text, text, text, text, st.binary(max_size=20), number, text),
        st.builds(ServerToolCall, text, text, text),
        st.builds(ServerToolResult, text, text, text),
        st.builds(Citation, text, text, text, text),
        st.builds(Refusal, text),
        st.builds(OtherContent, text, text),
    )
    return st.builds(ContentPart, kind, text, text)


def kinds(
    text: st.SearchStrategy[str] = CLEAN, number: st.SearchStrategy[int] = UINT32
) -> st.SearchStrategy[EventKind]:
    """Kinds of events with the given texts and numbers."""
    role = st.sampled_from(Role)
    part = parts(text, number)
    message = st.builds(
        AgentMessage,
        text,
        role,
        text,
        _few(st.builds(ToolCall, text, text, text)),
        text,
        text,
        st.booleans(),
        _few(part),
        _few(st.builds(InvalidToolCall, text, text, text, text)),
        text,
        st.none() | st.builds(TokenUsage, number, number, number, number, number),
    )
    change = file_changes(text)
    return st.one_of(
        st.builds(
            Token,
            text,
            role,
            text,
            _few(st.builds(ToolCallPiece, number, text, text, text)),
            text,
            st.booleans(),
            text,
            text,
            st.booleans(),
            _few(part),
            text,
            text,
        ),
        st.builds(
            StateUpdate,
            _few(st.builds(MessageChange, number, message)),
            number,
            st.none() | _few(st.builds(Todo, text, text)),
            _few(change),
            st.dictionaries(text, text, max_size=3),
            _few(st.builds(UnreadFile, text, text)),
        ),
        st.builds(RunStarted, st.uuids(), st.uuids(), st.uuids()),
        st.builds(
            UpstreamFrame, text, st.sampled_from(FrameReason), st.binary(max_size=20) | text.map(text_bytes)
        ),
        st.builds(
            InputRequested,
            text,
            text,
            _few(st.builds(InputAction, text, text, text, _few(text))),
            st.none() | TIMES,
        ),
        st.builds(InputAnswered, number, text, st.uuids(), _few(text)),
        st.builds(Discontinuity, st.sampled_from(DiscontinuityReason)),
        st.builds(Terminal, st.sampled_from(Outcome), text, text, number),
    )


def events(
    text: st.SearchStrategy[str] = CLEAN, number: st.SearchStrategy[int] = UINT32
) -> st.SearchStrategy[Event]:
    """Numbered events."""
    return st.builds(Event, st.integers(1, 2**32 - 1), st.integers(1, 1000), TIMES, kinds(text, number))
