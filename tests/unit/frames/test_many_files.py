"""A run of a hundred thousand files: whatever is done with all of them, other threads run meanwhile, and what
is made of each is small."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import TypeVar

from server.domain.journal.events import Event
from server.domain.journal.file_index import index_entries
from server.domain.proposals.files import File
from server.domain.proposals.partition import partition_files
from server.frames.agent_state import AgentState, StoredState
from server.frames.run_files import RunFiles
from tests.support.held_threads import lets_others_run

#: Paths in no order, which share a long beginning.
PATHS = [f"/{'folder/' * 30}{number}.md" for number in range(100_000)]
Random(1).shuffle(PATHS)


T = TypeVar("T")


def files() -> dict[str, File]:
    return {path: File(b"x") for path in PATHS}


def taken() -> RunFiles:
    """A run that has them."""
    made = RunFiles()
    made.adopt(files(), complete=True)
    return made


def test_a_state_becomes_bytes_and_is_read_from_them_in_pieces() -> None:
    state = AgentState()
    state.adopt(files(), complete=True)
    stored = StoredState.of(state)
    assert stored.load().files.current == state.files.current
    assert lets_others_run(lambda: lambda: StoredState.of(state), below=0.3)
    assert lets_others_run(lambda: stored.load, below=0.3)


def test_files_are_taken_in_the_order_of_their_paths_and_the_paths_sorted_in_pieces() -> None:
    given = files()
    assert lets_others_run(lambda: lambda: RunFiles().adopt(given, complete=True), below=0.15)
    assert list(taken().current.by_path) == sorted(PATHS)


def test_files_are_dropped_one_by_one() -> None:
    assert lets_others_run(lambda: taken().drop, below=0.3)
    dropped = taken()
    dropped.drop()
    assert not dropped.any


def test_their_index_takes_no_more_than_it_is_and_their_hashes() -> None:
    (update,) = AgentState().adopt(files(), complete=True)
    event = Event(1, 1, datetime(2026, 1, 1, tzinfo=UTC), update)
    entries = index_entries(event)
    again, peak_bytes = measured(lambda: index_entries(event))
    assert again == entries
    assert peak_bytes < 3 * len(entries)


def test_to_find_which_of_them_a_proposal_has_takes_little_for_each() -> None:
    current = taken().current
    found, peak_bytes = measured(lambda: partition_files(current))
    assert len(found.kept) == len(found.rejected) - 1 == 5_000
    assert peak_bytes < 900 * len(PATHS)


def measured(function: Callable[[], T]) -> tuple[T, int]:
    """What a function gives, and the most bytes of memory that it took meanwhile."""
    tracemalloc.start()
    try:
        return function(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
