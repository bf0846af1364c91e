"""The index of changed files: exact, and which tool call it names."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.domain.journal.events import (
    AgentMessage,
    Event,
    FileChange,
    MessageChange,
    Role,
    StateUpdate,
    Token,
)
from server.domain.journal.file_index import IndexedChange, index_entries, read_index
from server.domain.journal.file_writers import writers_of
from server.domain.proposals.files import File
from tests.unit.wire.event_strategies import ANY, EPOCH, TIMES, UINT32, files

CHANGES = st.lists(
    st.builds(FileChange, ANY, st.none() | files(ANY)), max_size=5, unique_by=lambda change: change.path
)


def answer(call: str, text: str, *, status: str = "") -> AgentMessage:
    return AgentMessage(role=Role.TOOL, text=text, tool_call_id=call, status=status)


def writers(paths: list[str], *messages: AgentMessage) -> dict[str, str]:
    changes = tuple(FileChange(path, File(b"")) for path in paths)
    numbered = tuple(MessageChange(index, message) for index, message in enumerate(messages))
    return dict(writers_of(StateUpdate(messages=numbered, files=changes)))


@given(st.lists(st.tuples(UINT32, TIMES, CHANGES, st.text(max_size=5))))
def test_the_entries_of_events_joined_have_all_changes_in_their_order(
    made: list[tuple[int, object, list[FileChange], str]],
) -> None:
    events = [
        Event(seq, 1, time, StateUpdate((MessageChange(0, answer(call, "done")),), 1, files=tuple(changes)))  # type: ignore[arg-type]
        for seq, time, changes, call in made
    ]
    expected = [
        IndexedChange(
            event.seq,
            event.time,
            change.path,
            change.file.sha256 if change.file else "",
            len(change.file.content) if change.file else 0,
            change.file is not None and change.file.is_text,
            call,
        )
        for event, (_, _, changes, call) in zip(events, made, strict=True)
        for change in changes
    ]
    assert list(read_index(b"".join(map(index_entries, events)))) == expected


def test_an_event_that_changes_no_file_has_no_entries() -> None:
    assert index_entries(Event(1, 1, EPOCH, Token(text="/a"))) == b""
    assert index_entries(Event(1, 1, EPOCH, StateUpdate(message_count=1))) == b""


def test_the_only_call_that_was_answered_wrote_all_files() -> None:
    assert writers(["/a", "/b"], answer("c1", "done")) == {"/a": "c1", "/b": "c1"}
    failed = answer("c2", "Error: /a", status="error")
    assert writers(["/a"], AgentMessage(role=Role.AI, text="/a"), answer("c1", ""), failed) == {"/a": "c1"}


def test_of_several_calls_the_one_whose_answer_names_the_file_wrote_it() -> None:
    first, second = answer("c1", "Updated file /a"), answer("c2", "Updated file /a/b.md.")
    assert writers(["/a", "/a/b.md", "/c"], first, second) == {"/a": "c1", "/a/b.md": "c2"}
    assert writers(["/a"], first, answer("c3", "edited '/a'")) == {"/a": "c3"}


def test_an_answer_that_names_several_changed_files_is_no_evidence() -> None:
    assert writers(["/a", "/b"], answer("c1", "['/a', '/b']"), answer("c2", "wrote /b")) == {"/b": "c2"}


def test_nothing_is_guessed_without_an_answer() -> None:
    assert writers(["/a"]) == {}
    assert writers(["/a"], answer("", "Updated file /a")) == {}
    assert writers(["/a"], answer("c1", "one"), answer("c2", "two")) == {}


def test_an_id_of_any_length_is_not_repeated_for_each_file() -> None:
    assert writers(["/a"], answer("c" * 255, "")) == {"/a": "c" * 255}
    assert writers(["/a"], answer("c" * 256, "")) == {}


def test_of_very_many_files_and_several_calls_the_writers_are_not_looked_for() -> None:
    paths = [f"/{number:03}" for number in range(101)]
    assert writers(paths, answer("c1", "/000"), answer("c2", "/001")) == {}
    assert writers(paths[:100], answer("c1", "/000"), answer("c2", "/001")) == {"/000": "c1", "/001": "c2"}
