"""The room of what runs read of their journals when they are taken over."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest

from server.domain.byte_budget import ByteBudget
from server.domain.journal.journal import JournalIncomplete, SegmentTooLarge
from server.domain.journal.segments import Segment
from server.domain.off_loop import SMALL_BYTES
from server.domain.runs.restore import RESTORE_BYTES, next_segments

SIZE = 5 << 20


class Journal:
    """Has one segment of SIZE, several others, or nothing."""

    def __init__(self, *segments: object) -> None:
        self._segments = segments

    async def read_after(self, *args: object, max_bytes: int, max_segment_bytes: int) -> Sequence[Any]:
        if len(self._segments) == 1 and max_segment_bytes < SIZE:
            raise SegmentTooLarge(SIZE)
        return self._segments


def context(journal: Journal, budget: ByteBudget) -> Any:
    return cast(Any, SimpleNamespace(journal=journal, budget=budget))


async def test_a_large_segment_has_room_for_its_copies_until_it_is_applied() -> None:
    budget, segment = ByteBudget(), Segment(1, 1, b"x", b"")
    async with next_segments(context(Journal(segment), budget), uuid4(), 0) as segments:
        assert [*segments] == [segment]
        assert budget.used_bytes == 3 * SIZE > RESTORE_BYTES
    assert budget.used_bytes == 0


async def test_a_journal_that_ends_too_early_takes_no_room() -> None:
    budget = ByteBudget()
    with pytest.raises(JournalIncomplete):
        async with next_segments(context(Journal(), budget), uuid4(), 0):
            pytest.fail("there is a segment")
    assert budget.used_bytes == 0


async def test_small_segments_that_follow_each_other_are_read_as_one() -> None:
    sizes = [1, 10, SMALL_BYTES, 1, SMALL_BYTES // 2, SMALL_BYTES // 2, 1]
    given = [
        Segment(number, number, bytes([number]) * size, b"d%d" % number, terminal=number == len(sizes))
        for number, size in enumerate(sizes, start=1)
    ]
    async with next_segments(context(Journal(*given), ByteBudget()), uuid4(), 0) as segments:
        found = [(each.first_seq, each.last_seq, each.terminal) for each in segments]
        assert b"".join(each.batch for each in segments) == b"".join(each.batch for each in given)
        assert b"".join(each.delta_batch for each in segments) == b"d1d2d3d4d5d6d7"
        assert all(each.size_bytes <= SMALL_BYTES for each in segments if each.first_seq != each.last_seq)
    assert found == [(1, 2, False), (3, 3, False), (4, 5, False), (6, 7, True)]
