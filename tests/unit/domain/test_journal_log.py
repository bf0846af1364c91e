"""The log of a run as a queue: without a database, and without a writer."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.byte_budget import ByteBudget
from server.domain.errors import LeaseLost
from server.domain.journal.batch import ENTRY_BYTES, Batch
from server.domain.journal.log import BATCH_BYTES, COMMIT_BYTES, CommitQueues, JournalLog
from server.domain.journal.recent_commits import KEEP_S, RecentBudget, RecentCommits
from server.domain.quarantine.entries import PutBack
from server.domain.runs.lease import Lease
from server.domain.runs.runtime import Invocation
from server.domain.runs.status import RunStatus
from server.encoding.event_batch import delimited_event, event_ends, split_deltas, split_events
from tests.support.hand_clock import HandClock


def a_lease(*, last_seq: int = 1) -> Lease:
    invocation = Invocation(UUID(int=1), UUID(int=2), {"name": "a"}, {})
    return Lease(
        uuid4(), 1, RunStatus.RUNNING, 1, last_seq, 1, invocation, 0.0, UUID(int=3), UUID(int=4), takeovers=0
    )


def a_log(
    queues: CommitQueues, *, max_queued_bytes: int = 1 << 20, clock: HandClock | None = None
) -> JournalLog:
    clock = clock or HandClock()
    return JournalLog(
        a_lease(),
        queues,
        clock,
        max_queued_bytes=max_queued_bytes,
        budget=ByteBudget(),
        recent=RecentCommits(RecentBudget(clock)),
    )


def two_runs(max_bytes: int) -> tuple[HandClock, RecentBudget, RecentCommits, RecentCommits]:
    """The recent commits of two runs that share a budget of so many bytes."""
    clock = HandClock()
    budget = RecentBudget(clock, max_bytes)
    return clock, budget, RecentCommits(budget), RecentCommits(budget)


#: The log of commits for which it does not matter.
LOG = a_log(CommitQueues())


def a_commit(base: int, last: int) -> Batch:
    count = last - base
    return Batch(LOG, base, last, 2 * count, b"e" * count, b"d" * count, b"", 1, 0.0)


def test_recent_commits_give_what_follows_the_end_of_one_of_them() -> None:
    recent = RecentCommits(RecentBudget(HandClock()))
    for base, last in ((1, 3), (3, 4), (4, 9)):
        recent.add(a_commit(base, last))
    assert recent.after(1) == a_commit(1, 9)
    assert recent.after(3) == a_commit(3, 9)
    assert recent.after(4) == a_commit(4, 9)
    # Before the first, within a commit, at the end.
    assert [recent.after(seq) for seq in (0, 2, 5, 9)] == [None] * 4


def test_recent_commits_are_dropped_by_age_and_by_the_bytes_of_all_runs_oldest_first() -> None:
    clock, budget, recent, other = two_runs(max_bytes=19)
    recent.add(a_commit(1, 5))
    other.add(a_commit(1, 5))
    recent.add(a_commit(5, 7))
    assert recent.after(1) is None
    assert recent.after(5) == a_commit(5, 7)
    clock.move(KEEP_S + 1)
    recent.add(a_commit(7, 8))
    budget.expire()
    assert recent.after(5) is None
    assert recent.after(7) == a_commit(7, 8)
    for each in (recent, other):
        each.clear()
    assert budget.used_bytes == 0


def test_a_run_that_goes_on_keeps_its_commits_though_quiet_ones_have_filled_the_budget() -> None:
    _, budget, quiet, active = two_runs(max_bytes=19)
    quiet.add(a_commit(1, 10))
    active.add(a_commit(1, 4))
    assert quiet.after(1) is None
    assert active.after(1) == a_commit(1, 4)
    assert budget.used_bytes == 6


def test_commits_of_a_quiet_run_are_kept_no_longer_than_others() -> None:
    clock = HandClock()
    budget = RecentBudget(clock)
    quiet = RecentCommits(budget)
    quiet.add(a_commit(1, 5))
    clock.move(KEEP_S + 1)
    budget.expire()
    assert quiet.after(1) is None
    assert budget.used_bytes == 0


def test_recent_commits_that_are_cleared_free_their_bytes_once() -> None:
    clock, budget, lost, other = two_runs(max_bytes=19)
    lost.add(a_commit(1, 5))
    other.add(a_commit(1, 3))
    lost.clear()
    lost.add(a_commit(5, 6))
    assert budget.used_bytes == 6
    clock.move(KEEP_S + 1)
    budget.expire()
    assert budget.used_bytes == 0
    lost.add(a_commit(6, 7))
    assert lost.after(6) == a_commit(6, 7)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.binary(max_size=40), st.binary(max_size=20)), max_size=30),
    st.integers(1, 200),
)
def test_batches_bring_every_event_once_in_order_within_the_bound(
    puts: list[tuple[int, bytes, bytes]], max_bytes: int
) -> None:
    queues = CommitQueues()
    logs = [a_log(queues) for _ in range(3)]
    for number, event, delta in puts:
        logs[number].put(delimited_event(event), delta, epoch=1)
    committed: dict[JournalLog, list[tuple[bytes, bytes]]] = {log: [] for log in logs}
    while batches := queues.small.next_batches(max_bytes):
        assert len({batch.log for batch in batches}) == len(batches)
        # Only the last batch may go beyond the bound, and only by its first event.
        assert sum(batch.size_bytes for batch in batches[:-1]) < max_bytes
        for batch in batches:
            assert batch.base == batch.log.committed
            events, deltas = (
                split_events(batch.event_bytes, event_ends(batch.event_bytes)),
                split_deltas(batch.delta_bytes),
            )
            assert batch.last - batch.base == len(events) == len(deltas) > 0
            assert len(events) == 1 or batch.size_bytes <= max_bytes
            committed[batch.log] += zip(events, deltas, strict=True)
            batch.log.mark_committed(batch)
    for number, log in enumerate(logs):
        assert committed[log] == [(event, delta) for to, event, delta in puts if to == number]
        assert (log.committed, log.queued_bytes) == (log.last_seq, 0)


def test_the_log_that_waits_longest_comes_first() -> None:
    queues = CommitQueues()
    first, second = a_log(queues), a_log(queues)
    for log in (first, second, first):
        log.put(delimited_event(b"event"), b"", epoch=1)
    (batch,) = queues.small.next_batches(1)
    assert batch.log is first
    # What is left of it comes once this is committed, and goes to the end of the line.
    first.mark_committed(batch)
    assert [batch.log for batch in queues.small.next_batches(1000)] == [second, first]


def test_a_commit_has_a_batch_of_each_run_that_is_at_full_speed_and_no_batch_is_large() -> None:
    queues = CommitQueues()
    logs = [a_log(queues) for _ in range(20)]
    for log in logs[:12]:
        for _ in range(40):
            log.put(delimited_event(b"e" * 1000), b"", epoch=1)
    for log in logs[12:]:
        for _ in range(400):
            log.put(delimited_event(b"e" * 1000), b"", epoch=1)
    batches = queues.small.next_batches()
    assert [batch.log for batch in batches] == logs[:16]
    assert COMMIT_BYTES < sum(batch.size_bytes for batch in batches) < COMMIT_BYTES + 2000
    assert max(batch.size_bytes for batch in batches) <= BATCH_BYTES


def test_a_run_has_one_batch_at_a_time() -> None:
    queues = CommitQueues()
    log = a_log(queues)
    log.put(delimited_event(b"event"), b"", epoch=1)
    (batch,) = queues.small.next_batches()
    log.put(delimited_event(b"next"), b"", epoch=1)
    log.put(delimited_event(b"l" * BATCH_BYTES), b"", epoch=1)
    assert queues.small.next_batches() == queues.large.next_batches() == []
    log.mark_committed(batch)
    (batch,) = queues.small.next_batches()
    assert batch.last == batch.base + 1 == log.last_seq - 1


def test_the_events_of_other_runs_do_not_wait_for_a_large_one_and_those_of_its_own_run_do() -> None:
    queues = CommitQueues()
    log, other = a_log(queues), a_log(queues)
    log.put(delimited_event(b"l" * BATCH_BYTES), b"", epoch=1)
    log.put(delimited_event(b"small"), b"", epoch=1)
    other.put(delimited_event(b"small"), b"", epoch=1)
    (large,) = queues.large.next_batches()
    assert (large.log, large.last) == (log, log.last_seq - 1)
    assert [batch.log for batch in queues.small.next_batches()] == [other]
    log.mark_committed(large)
    assert queues.large.next_batches() == []
    assert [batch.log for batch in queues.small.next_batches()] == [log]


def test_a_batch_has_the_epoch_of_its_last_event_and_the_time_of_its_first() -> None:
    queues, clock = CommitQueues(), HandClock()
    log = a_log(queues, clock=clock)
    log.put(delimited_event(b"a"), b"", epoch=1)
    clock.move(3)
    log.put(delimited_event(b"b"), b"", epoch=2)
    (batch,) = queues.small.next_batches(1000)
    assert (batch.epoch, batch.put_at) == (2, 0.0)
    log.mark_committed(batch)
    assert log.epoch == 2


async def test_a_run_waits_while_much_is_queued_and_until_all_is_committed() -> None:
    queues = CommitQueues()
    log = a_log(queues, max_queued_bytes=10)
    log.put(delimited_event(b"x" * 20), b"", epoch=1)
    capacity, flushed = asyncio.ensure_future(log.wait_for_capacity()), asyncio.ensure_future(log.flush())
    await asyncio.sleep(0)
    assert not capacity.done()
    assert not flushed.done()
    (batch,) = queues.small.next_batches(1000)
    log.mark_committed(batch)
    await asyncio.gather(capacity, flushed)


async def test_a_lost_lease_ends_every_wait_and_drops_what_is_queued() -> None:
    queues = CommitQueues()
    log = a_log(queues, max_queued_bytes=10)
    log.put(delimited_event(b"x" * 20), b"", epoch=1)
    waits = [asyncio.ensure_future(log.wait_for_capacity()), asyncio.ensure_future(log.flush())]
    await asyncio.sleep(0)
    log.mark_lost()
    for wait in waits:
        with pytest.raises(LeaseLost):
            await wait
    assert log.queued_bytes == 0
    assert queues.small.next_batches(1000) == []
    with pytest.raises(LeaseLost):
        await log.flush()


def test_a_commit_has_few_entries_of_the_quarantine_however_short_their_events_are() -> None:
    queues = CommitQueues()
    for _ in range(2):
        log = a_log(queues)
        for _ in range(1000):
            log.put(delimited_event(b"{}"), b"", epoch=1, quarantine=PutBack(1, 2))
    counts = [len(batch.quarantine) for batch in queues.small.next_batches(100 * ENTRY_BYTES)]
    assert len(counts) == 2
    assert max(counts) <= BATCH_BYTES // ENTRY_BYTES
    assert 90 < sum(counts) <= 100


async def test_the_writer_is_called_once_when_the_first_log_is_filled() -> None:
    queues = CommitQueues()
    found: list[int] = []
    queues.small.when_filled(lambda: found.append(len(queues.small.next_batches())))
    for _ in range(3):
        a_log(queues).put(delimited_event(b"event"), b"", epoch=1)
    assert found == [1]


def test_the_terminal_event_moves_the_end_though_it_was_never_queued() -> None:
    log = a_log(CommitQueues())
    log.mark_finished()
    assert (log.committed, log.last_seq) == (2, 2)


@given(st.lists(st.sampled_from([b"", b"change of a file"]), max_size=20), st.integers(1, 60))
def test_entries_of_changed_files_are_in_the_batch_of_their_event_and_written_again_with_it(
    entries: list[bytes], max_bytes: int
) -> None:
    queues = CommitQueues()
    log = a_log(queues)
    for number, entry in enumerate(entries):
        log.put(delimited_event(b"%d" % number), b"", epoch=1, file_changes=entry and b"%d " % number + entry)
    assert log.queued_bytes >= sum(map(len, entries))
    while log.queued_bytes:
        batch = log.next_batch(max_bytes)
        numbers = range(batch.base - 1, batch.last - 1)
        expected = b"".join(b"%d " % number + entries[number] for number in numbers if entries[number])
        assert batch.file_changes == expected
        log.mark_committed(batch)
        again = log.committed_after(batch.base)
        assert again is not None
        assert again.file_changes == expected
    assert log.queued_bytes == 0
