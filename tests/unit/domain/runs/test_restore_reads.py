"""The room of what runs read of their journals when they are taken over."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest

from server.domain.byte_budget import ByteBudget
from server.domain.journal.journal import JournalIncomplete, SegmentTooLarge
from server.domain.runs.restore_reads import RESTORE_BYTES, next_segments

SIZE = 5 << 20


class Journal:
    """Has one segment of SIZE, or nothing."""

    def __init__(self, *segments: object) -> None:
        self._segments = segments

    async def read_after(self, *args: object, max_bytes: int, max_segment_bytes: int) -> Sequence[Any]:
        if self._segments and max_segment_bytes < SIZE:
            raise SegmentTooLarge(SIZE)
        return self._segments


def context(journal: Journal, budget: ByteBudget) -> Any:
    return cast(Any, SimpleNamespace(journal=journal, budget=budget))


async def test_a_large_segment_has_room_for_its_copies_until_it_is_applied() -> None:
    budget, segment = ByteBudget(), object()
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
