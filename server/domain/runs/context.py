"""What all runs of this replica share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

from server.domain.byte_budget import ByteBudget
from server.domain.clock import Clock
from server.domain.drafts.store import DraftFilesStore
from server.domain.journal.journal import EventCodec, Journal
from server.domain.loop_turns import LoopTurns
from server.domain.quarantine.store import RunQuarantine
from server.domain.retry import retry_while_unavailable
from server.domain.runs.frame_worker import FrameWorker
from server.domain.runs.lease import RunStore
from server.domain.runs.limits import RunLimits
from server.domain.runs.observer import RunObserver
from server.domain.runs.runtime import FrameInterpreter, Runtime

T = TypeVar("T")

#: Frames, states and ends of runs with more bytes than this are handled one at a time.
LARGE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class RunContext:
    """The ports, limits and listeners of a run.

    on_progress: called with a thread and the text of a progress frame, which is not journalled. interpreter:
    makes the interpreter of one run. restores: held while a run reads its journal. restoring: held while what
    it has read is applied in the event loop. budget: the memory that frames, uncommitted events and the files
    of all runs share. large_work: held while a state above `LARGE_BYTES` is read, while such a frame or state
    is interpreted and its events are queued, and while a run ends whose files or journal are larger than
    that. Each takes five to ten times its bytes, which no budget counts. worker: interprets the large frames
    in a process of its own; None for a thread.
    """

    runtime: Runtime
    journal: Journal
    runs: RunStore
    drafts: DraftFilesStore
    quarantine: RunQuarantine
    codec: EventCodec
    clock: Clock
    on_progress: Callable[[UUID, str], None]
    interpreter: Callable[[], FrameInterpreter]
    limits: RunLimits
    budget: ByteBudget
    observer: RunObserver
    worker: FrameWorker | None = None
    restores: asyncio.Semaphore = field(init=False)
    restoring: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)
    large_work: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)
    turns: LoopTurns = field(init=False, default_factory=LoopTurns)

    def __post_init__(self) -> None:
        object.__setattr__(self, "restores", asyncio.Semaphore(self.limits.max_restores))

    async def retry_while_unavailable(self, call: Callable[[], Awaitable[T]]) -> T:
        """The result of `call`, which is repeated while the database cannot be reached: a run outlives
        that."""
        pause_s = self.limits.database_retry_s
        return await retry_while_unavailable(call, self.clock, first_s=pause_s, max_s=pause_s)
