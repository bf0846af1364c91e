"""The record of a run: what its frames mean, put into its journal in order, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from server.domain.crash_points import crash_point
from server.domain.journal.events import (
    Discontinuity,
    DiscontinuityReason,
    Event,
    EventKind,
    FrameReason,
    Outcome,
    StateUpdate,
    Terminal,
    UpstreamFrame,
)
from server.domain.journal.frame_reconstruction import digest_of
from server.domain.model import Failure
from server.domain.proposals.files import File
from server.domain.proposals.paths import partition_files
from server.domain.runs.lease import Lease
from server.domain.runs.observer import Finished, RunContext
from server.domain.runs.runtime import Interpretation, UpstreamError

#: The context of the error by which the endpoint, not the run, gives up.
ENDPOINT_TIMEOUT = "streaming_timeout"
#: Bytes of one read of the journal.
RESTORE_BYTES = 1 << 20


def _of_the_endpoint(kind: EventKind) -> bool:
    """Whether it is the endpoint's own word, which a replay of the run does not repeat."""
    return (
        isinstance(kind, UpstreamFrame)
        and kind.reason is FrameReason.ERROR_REPORT
        and f'"{ENDPOINT_TIMEOUT}"'.encode() in kind.body
    )


class RunJournalWriter:
    """One run's journal as its drive writes it, under one lease."""

    def __init__(self, host: RunContext, lease: Lease) -> None:
        self._host = host
        self._lease = lease
        self._log = host.journal.open(lease)
        self._interpreter = host.interpreter()
        self._restored_seq = 0
        #: Grows with each discontinuity.
        self.epoch = lease.epoch
        #: Digests of the frames journalled in this epoch, to align a replay with.
        self.digests: list[bytes] = []
        #: What the error frames among them say, by digest.
        self.errors: dict[bytes, UpstreamError] = {}
        #: The digests of the epoch before.
        self.before: frozenset[bytes] = frozenset()
        #: Whether a state frame came in this epoch.
        self.shown = False

    @property
    def files(self) -> Mapping[str, File]:
        """The files as of the last event."""
        return self._interpreter.files.by_path

    @property
    def awaiting_input(self) -> bool:
        """Whether the agent asked a person for input."""
        return self._interpreter.awaiting_input

    async def restore(self) -> None:
        """Take in what the journal has already, to go on after it; nothing when the lease is fresh.

        Goes on where it stopped when it is called again after DatabaseUnavailable.
        """
        if self._lease.fresh:
            return
        while self._restored_seq < self._lease.last_seq:
            for segment in await self._host.journal.read_after(
                self._lease.thread_id, self._restored_seq, max_bytes=RESTORE_BYTES
            ):
                for event, delta in zip(segment.events(), segment.deltas(), strict=True):
                    kind = self._host.codec.decode(event).kind
                    if isinstance(kind, Discontinuity):
                        self.digests.clear()
                    self._note(kind, delta)
                    self._interpreter.restore(kind, delta)
                self._restored_seq = segment.last_seq
                await asyncio.sleep(0)

    def interpret(self, frame: bytes) -> Interpretation:
        """What the next frame means; `take` journals it."""
        return self._interpreter.interpret(frame)

    async def take(self, meaning: Interpretation) -> None:
        """Journal what a frame means. Waits while much is queued. Raises LeaseLost."""
        delta = meaning.delta
        for kind in meaning.kinds:
            self._put(kind, delta)
            delta = b""
            self.shown = self.shown or isinstance(kind, StateUpdate)
            if isinstance(kind, UpstreamFrame):
                self._host.observer.uninterpreted(self._lease, kind.reason)
        await self._log.wait_for_capacity()

    def adopt(self, files: Mapping[str, File]) -> None:
        """Journal files that came without a frame."""
        for kind in self._interpreter.adopt(files):
            self._put(kind)

    def mark(self, reason: DiscontinuityReason) -> None:
        """Journal that what came before and what comes after may not join up: a new epoch."""
        self.epoch += 1
        self.before = frozenset(self.digests)
        self.digests.clear()
        self.shown = False
        self._put(Discontinuity(reason))
        self._host.observer.discontinued(self._lease, reason)
        crash_point("discontinuity")

    async def flush(self) -> None:
        """Wait until all of it is committed. Raises LeaseLost."""
        await self._log.flush()

    async def finish(self, verdict: Finished) -> None:
        """Commit terminal event, files and status together. Raises LeaseLost."""
        files, rejected = partition_files(self.files)
        terminal = Terminal(verdict.outcome, verdict.reason, verdict.message, len(files))
        completed = verdict.outcome is Outcome.COMPLETED
        await self._host.journal.finish(
            self._log,
            self._encoded(terminal),
            verdict.delta,
            outcome=verdict.outcome,
            files=files,
            rejected=rejected,
            failure=None if completed else Failure(verdict.reason, verdict.message),
        )

    def _put(self, kind: EventKind, delta: bytes = b"") -> None:
        self._note(kind, delta)
        self._log.put(self._encoded(kind), delta, epoch=self.epoch)

    def _note(self, kind: EventKind, delta: bytes) -> None:
        digest = digest_of(delta)
        if digest is not None and not _of_the_endpoint(kind):
            self.digests.append(digest)
            if isinstance(kind, UpstreamFrame) and kind.reason is FrameReason.ERROR_REPORT:
                error = self._host.interpreter().interpret(kind.body).error
                if error is not None:
                    self.errors[digest] = error

    def _encoded(self, kind: EventKind) -> bytes:
        event = Event(self._log.last_seq + 1, self.epoch, self._host.clock.now(), kind)
        return self._host.codec.encode(event)
