"""For whom a task works, so that callers share what is scarce (ADR 0018): connections to the database, and
turns of the event loop."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: For whom the current task works: a user's id, or one key for all share links of a user, who would have a
#: turn for each link otherwise. None is the hub itself. What a call starts, such as a run, works for its
#: caller, too.
on_behalf_of: ContextVar[Hashable] = ContextVar("on_behalf_of", default=None)
#: As how many callers those count who are not known yet, all together.
UNKNOWN_CALLERS = 8


@contextmanager
def for_unknown_caller(sha256: bytes) -> Iterator[None]:
    """Within the block the current task works for a caller who is not known yet, by the hash of what it
    presented. Otherwise a flood of tickets would have the hub's own turns, and the journal would wait for it.
    A client that invents tickets gets no more than so many callers do."""
    before = on_behalf_of.set(("unknown", sha256[0] % UNKNOWN_CALLERS))
    try:
        yield
    finally:
        on_behalf_of.reset(before)
