"""The newest committed events of each run, kept for a while: what a database may have lost, and was shown.

A database that comes back from a failover to an asynchronous standby is without its newest commits. Its
journals then end before what readers already have. The process that wrote the lost events writes them again,
the same seqs with the same bytes (ADR 0028).
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from server.domain.clock import Clock
from server.domain.quarantine.entries import QuarantineEntry
from server.domain.webhooks.events import OutboxEvent

#: Seconds for which events are kept, and bytes that all runs of a process keep at most.
KEEP_S, MAX_BYTES = 30.0, 16 << 20
#: Seconds between two looks for commits that the database has lost.
RESTORE_S = 3.0


class Commit(NamedTuple):
    """Consecutive events of a run that are committed together: `base + 1` to `last`.

    size_bytes: of what is stored. file_changes: entries of the index of changed files (`file_index`); empty
    when no event changes a file. epoch: that of the last event. outbox: what is stored in the outbox with
    them. quarantine: what is noted in the quarantine with them.
    """

    base: int
    last: int
    size_bytes: int
    event_bytes: bytes
    delta_bytes: bytes
    file_changes: bytes
    epoch: int
    outbox: tuple[OutboxEvent, ...] = ()
    quarantine: tuple[QuarantineEntry, ...] = ()


class RecentBudget:
    """The bytes that the recent commits of all runs of a process keep."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self.used_bytes = 0


class RecentCommits:
    """The recent commits of one run."""

    def __init__(self, clock: Clock, budget: RecentBudget) -> None:
        self._clock, self._budget = clock, budget
        #: When each was added.
        self._commits: deque[tuple[float, Commit]] = deque()

    def add(self, commit: Commit) -> None:
        """Keep a commit, which continues the one before; drop those that are too old or too many."""
        now = self._clock.monotonic()
        self._commits.append((now, commit))
        self._budget.used_bytes += commit.size_bytes
        while self._commits and (
            self._commits[0][0] < now - KEEP_S or self._budget.used_bytes > self._budget.max_bytes
        ):
            self._drop_oldest()

    def after(self, seq: int) -> Commit | None:
        """All events after `seq` as one; None when not all of them are kept."""
        commits = [commit for _, commit in self._commits if commit.base >= seq]
        if not commits or commits[0].base != seq:
            return None
        return Commit(
            seq,
            commits[-1].last,
            sum(commit.size_bytes for commit in commits),
            b"".join(commit.event_bytes for commit in commits),
            b"".join(commit.delta_bytes for commit in commits),
            b"".join(commit.file_changes for commit in commits),
            commits[-1].epoch,
            tuple(event for commit in commits for event in commit.outbox),
            tuple(entry for commit in commits for entry in commit.quarantine),
        )

    def clear(self) -> None:
        """Keep nothing."""
        while self._commits:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, commit = self._commits.popleft()
        self._budget.used_bytes -= commit.size_bytes
