"""Which large frames are interpreted in the event loop itself."""

from __future__ import annotations

import pytest

from server.domain.off_loop import SMALL_BYTES
from server.domain.runs.quick_frames import MAX_BYTES, MAX_S, QuickFrames

STATE = bytes(range(256)) * 512
SLOW_S = MAX_S * 2


def after(frame: bytes, seconds: float = MAX_S) -> QuickFrames:
    frames = QuickFrames()
    frames.note(frame, seconds)
    return frames


def unknown(frame: bytes) -> int | None:
    return None


def test_a_small_frame_is_always_quick() -> None:
    assert QuickFrames().includes(b"x" * SMALL_BYTES, unknown)


def test_the_first_large_frame_is_not_expected_to_be_quick() -> None:
    assert not QuickFrames().includes(STATE, unknown)


@pytest.mark.parametrize(
    "frame", [STATE, STATE[:70_000] + b"changed" + STATE[70_000:], STATE[:-90_000], STATE + b"more"]
)
def test_a_frame_that_differs_little_from_a_quick_one_is_quick(frame: bytes) -> None:
    assert after(STATE).includes(frame, unknown)


def test_a_frame_that_brings_more_than_a_small_one_is_not_expected_to_be_quick() -> None:
    inserted = b"x" * (SMALL_BYTES + 1)
    assert not after(STATE).includes(STATE[:10] + inserted + STATE[10:], unknown)
    assert after(STATE).includes(STATE[:10] + inserted[:-300] + STATE[10:], unknown)


@pytest.mark.parametrize("changed", [0, SMALL_BYTES, SMALL_BYTES + 1])
def test_what_the_interpreter_knows_of_a_frame_decides(changed: int) -> None:
    assert after(STATE).includes(STATE[::-1], lambda frame: changed) == (changed <= SMALL_BYTES)


def test_after_a_slow_frame_the_next_one_is_not_expected_to_be_quick() -> None:
    frames = after(STATE)
    frames.note(STATE, SLOW_S)
    assert not frames.includes(STATE, unknown)


def test_a_frame_above_the_limit_is_neither_quick_nor_kept() -> None:
    large = STATE * 3
    assert len(large) > MAX_BYTES
    frames = after(large)
    assert not frames.includes(large, unknown)
    assert frames.size_bytes == 0


def test_a_frame_that_is_forgotten_is_compared_with_nothing() -> None:
    frames = after(STATE)
    assert frames.size_bytes == len(STATE)
    frames.forget()
    assert not frames.includes(STATE, unknown)
