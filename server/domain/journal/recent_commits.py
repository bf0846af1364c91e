"""The newest committed events of each run, kept for a while: what a database may have lost, and was shown.

A database that comes back from a failover to an asynchronous standby is without its newest commits. Its
journals then end before what readers already have. The process that wrote the lost events writes them again,
the same seqs with the same bytes (ADR 0028).
"""

from __future__ import annotations

from collections import deque

from server.domain.clock import Clock
from server.domain.journal.batch import Batch, joined

#: Seconds for which events are kept at least, and bytes that all runs of a process keep at most.
KEEP_S, MAX_BYTES = 30.0, 16 << 20
#: Seconds between two looks for commits that the database has lost.
RESTORE_S = 3.0


class RecentBudget:
    """The recent commits of all runs of a process, by their age: the oldest are dropped first."""

    def __init__(self, clock: Clock, max_bytes: int = MAX_BYTES) -> None:
        self._clock, self._max_bytes = clock, max_bytes
        #: When each commit was added, oldest first, and where it is kept. Not pairs: those would be as many
        #: objects for the garbage collector.
        self._added: deque[float] = deque()
        self._kept_in: deque[RecentCommits] = deque()
        #: Bytes that all runs keep.
        self.used_bytes = 0

    def add(self, recent: RecentCommits, size_bytes: int) -> None:
        """Count a commit that is kept in `recent` now; drop the oldest if they are too many. What is too old
        is dropped by the next `expire`."""
        self._added.append(self._clock.monotonic())
        self._kept_in.append(recent)
        self.used_bytes += size_bytes
        if self.used_bytes > self._max_bytes:
            self.expire()

    def expire(self) -> None:
        """Drop what is too old or too much, whether or not its run goes on."""
        oldest_s = self._clock.monotonic() - KEEP_S
        while self._added and (self._added[0] < oldest_s or self.used_bytes > self._max_bytes):
            self._added.popleft()
            self._kept_in.popleft().drop_oldest()


class RecentCommits:
    """The recent commits of one run."""

    def __init__(self, budget: RecentBudget) -> None:
        self._budget = budget
        self._commits: deque[Batch] = deque()
        #: Commits that were dropped before their turn.
        self._cleared = 0

    def add(self, commit: Batch) -> None:
        """Keep a commit, which continues the one before."""
        self._commits.append(commit)
        self._budget.add(self, commit.size_bytes)

    def after(self, seq: int) -> Batch | None:
        """All events after `seq` as one; None when not all of them are kept."""
        commits = [commit for commit in self._commits if commit.base >= seq]
        if not commits or commits[0].base != seq:
            return None
        return joined(commits)

    def drop_oldest(self) -> None:
        """Drop the oldest commit; nothing if it was cleared."""
        if self._cleared:
            self._cleared -= 1
        else:
            self._budget.used_bytes -= self._commits.popleft().size_bytes

    def clear(self) -> None:
        """Keep nothing."""
        self._budget.used_bytes -= sum(commit.size_bytes for commit in self._commits)
        self._cleared += len(self._commits)
        self._commits.clear()
