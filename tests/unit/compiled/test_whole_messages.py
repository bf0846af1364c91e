"""The messages in what was read of a WebSocket: those that compiled code finds are those of the reader in
Python."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.compiled.choice import compiled_whole_messages
from server.domain.runs.runtime import sizes_of
from server.runtime.websocket import FindMessages, whole_messages
from tests.unit.compiled.forms import compiled


@pytest.fixture(scope="session")
def find() -> FindMessages:
    compiled()
    found = compiled_whole_messages(compiled=True)
    assert found is not None
    return found


def found(find: FindMessages, ahead: bytes, used: int, limit: int) -> tuple[list[bytes], int]:
    messages, end = find(ahead, used, limit)
    assert [*sizes_of(messages)] == [*map(len, messages)]
    return [*messages], end


def frame(content: bytes, first: int = 0x81) -> bytes:
    """A frame of a server."""
    size = len(content)
    return bytes((first, size) if size < 126 else (first, 126, size >> 8, size & 255)) + content


CONTENTS = st.binary(max_size=9) | st.sampled_from([b"x" * 125, b"x" * 126, b"x" * 400])
FIRST = st.sampled_from([0x81, 0x81, 0x82, 0x01, 0x80, 0x88, 0x89, 0xC1])
FRAMES = st.lists(st.builds(frame, CONTENTS, FIRST) | st.binary(max_size=5), max_size=6).map(b"".join)


@given(FRAMES, st.integers(0, 30), st.integers(0, 9), st.sampled_from([0, 5, 125, 126, 1 << 20]))
def test_they_are_the_same_in_whatever_was_read(
    find: FindMessages, data: bytes, used: int, cut: int, limit: int
) -> None:
    ahead = data[: max(len(data) - cut, 0)]
    used = min(used, len(ahead))
    assert found(find, ahead, used, limit) == whole_messages(ahead, used, limit)


@pytest.mark.parametrize("size", [0, 125, 126, 65_535])
def test_they_end_before_a_frame_that_is_not_whole(find: FindMessages, size: int) -> None:
    ahead = frame(b"x" * size) + frame(b"last" * 40)
    for cut in (0, 1, 160, 161, 163):
        read = ahead[: len(ahead) - cut]
        assert found(find, read, 0, 65_535) == whole_messages(read, 0, 65_535)


@given(st.integers(-5, 5), st.integers(-5, 5) | st.none(), st.integers(-5, 5) | st.none())
def test_those_that_are_found_are_a_sequence(
    find: FindMessages, index: int, start: int | None, stop: int | None
) -> None:
    contents = [b"a", b"", b"ccc"]
    messages, _ = find(b"".join(map(frame, contents)) + b"\x81", 0, 9)
    assert len(messages) == 3
    assert [*messages[start:stop]] == contents[start:stop]
    try:
        expected = contents[index]
    except IndexError:
        with pytest.raises(IndexError):
            messages[index]
    else:
        assert messages[index] == expected
        # The reader of tokens knows the last frame by its identity.
        assert messages[index] is messages[:][index]
