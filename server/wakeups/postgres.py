"""Wake-ups over LISTEN and NOTIFY (ADR 0011).

1. A commit only records its thread; one task announces the recorded threads, at once after a quiet time and
   at most 20 times a second. NOTIFY in the commit itself would make all commits wait for one lock.
2. Hints are sent through the pool, and received on a separate connection, which must not go through a
   transaction pooler: a pooler accepts LISTEN and delivers nothing. The self-test detects that.
3. A replica that hears no other announces no commits: nobody would read them. Each one's self-tests are what
   the others hear of it, the first of them as soon as it listens.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
from typing_extensions import override

from server.db.connections import connect
from server.db.errors import database_errors
from server.domain.errors import DatabaseUnavailable
from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment
from server.domain.streams.wakeups import WakeupListener, Wakeups
from server.wakeups.health import ANSWER_S, MAX_RETRY_S, SELF_TEST_S, CarrierHealth, set_within
from server.wakeups.payloads import (
    NONCE,
    PROGRESS,
    RELEASED,
    hints_of,
    payloads_of,
    progress_of,
    progress_payloads_of,
)

CHANNEL = "ideo_wakeups"
#: Shortest pause in seconds between two publications of a process.
PAUSE_S = 0.05
#: Self-tests that must pass one after the other without one of another replica between them, until a replica
#: counts as alone. A healthy one tests itself as often, and an unhealthy one polls often.
ALONE_TESTS = 3
#: Errors that only cost a hint: nothing else may stop because of the database's answer.
AWAY = (DatabaseUnavailable, asyncpg.PostgresError)

_NOTIFY = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload"


class PostgresWakeups(Wakeups):
    """Wake-ups through the database that the replicas already share."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        listen_dsn: str,
        *,
        pause_s: float = PAUSE_S,
        self_test_s: float = SELF_TEST_S,
        answer_s: float = ANSWER_S,
        max_retry_s: float = MAX_RETRY_S,
    ) -> None:
        self._pool = pool
        self._dsn = listen_dsn
        self._pause_s, self._self_test_s, self._answer_s = pause_s, self_test_s, answer_s
        self._health = CarrierHealth(answer_s=answer_s, max_retry_s=max_retry_s)
        #: Newest seq of each thread that is still to be announced.
        self._unpublished: dict[UUID, int] = {}
        #: Newest progress text of each thread, and whether runs were released; lost with a failed statement.
        self._progress: dict[UUID, str] = {}
        self._released = False
        #: The hints that were sent last: this process hears them, too.
        self._own: frozenset[str] = frozenset()
        self._work = asyncio.Event()
        #: Self-tests that have passed since another replica was heard, or the session began.
        self._tests_alone = 0
        #: Statements that announced something, and connections made to listen, since the start.
        self.publications = self.connections = 0

    @property
    @override
    def healthy(self) -> bool:
        return self._health.healthy

    @property
    def alone(self) -> bool:
        """Whether no other replica listens, as far as is known."""
        return self._tests_alone >= ALONE_TESTS

    @override
    def on_commit(self, thread_id: UUID, segment: Segment, head: JournalHead) -> None:
        if not self.alone:
            self._unpublished[thread_id] = segment.last_seq
            self._work.set()

    @override
    def on_progress(self, thread_id: UUID, text: str) -> None:
        if not self.alone:
            self._progress[thread_id] = text
            self._work.set()

    @override
    def on_released(self) -> None:
        self._released = True
        self._work.set()

    @override
    def on_remote_thread(self) -> None:
        # Nothing to do: one channel carries the hints of all threads.
        pass

    @override
    async def run_forever(
        self, listener: WakeupListener, *, on_released: Callable[[], None] = lambda: None
    ) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._publish_forever(), name="wake-ups: publish")
            sessions = self._health.run_sessions(lambda: self._listen(listener, on_released), AWAY)
            group.create_task(sessions, name="wake-ups: listen")

    # --- Announcing --------------------------------------------------------------------------

    async def _publish_forever(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            unpublished, self._unpublished = self._unpublished, {}
            progress, self._progress = self._progress, {}
            released, self._released = [RELEASED] if self._released else [], False
            hints = list(payloads_of(unpublished))
            self._own = frozenset(hints)
            try:
                await self._notify([*released, *hints, *progress_payloads_of(progress)])
                self.publications += 1
            except AWAY:
                # What was committed meanwhile is newer.
                self._unpublished = {**unpublished, **self._unpublished}
                self._work.set()
            await asyncio.sleep(self._pause_s)

    async def _notify(self, payloads: list[str]) -> None:
        with database_errors():
            await self._pool.execute(_NOTIFY, CHANNEL, payloads)

    # --- Listening ---------------------------------------------------------------------------

    async def _listen(self, listener: WakeupListener, on_released: Callable[[], None]) -> str:
        """Listen on a new connection until it breaks or a self-test fails. Returns which. Raises AWAY."""
        try:
            async with self._listening(listener, on_released) as lost:
                while await self._health.self_test(lambda nonce: self._notify([NONCE + nonce])):
                    self._tests_alone += 1
                    if await set_within(lost, self._self_test_s):
                        return "the connection was lost"
        finally:
            self._tests_alone = 0
        return "the self-test failed: does DATABASE_DIRECT_URL lead through a pooler?"

    @asynccontextmanager
    async def _listening(
        self, listener: WakeupListener, on_released: Callable[[], None]
    ) -> AsyncIterator[asyncio.Event]:
        """A new connection that listens; the event is set when it breaks. Raises AWAY."""
        lost = asyncio.Event()

        def on_notification(_connection: Any, _pid: int, _channel: str, payload: str) -> None:
            if payload.startswith(NONCE):
                if not self._health.on_nonce(payload.removeprefix(NONCE)):
                    self._tests_alone = 0
                return
            if payload in self._own:
                return
            if payload == RELEASED:
                on_released()
            elif payload.startswith(PROGRESS):
                for thread_id, text in progress_of(payload):
                    listener.on_progress(thread_id, text)
            else:
                for thread_id, last_seq in hints_of(payload):
                    listener.on_wakeup(thread_id, last_seq)

        with database_errors():
            connection = await connect(
                self._dsn,
                timeout_s=self._answer_s,
                command_timeout_s=self._answer_s,
                application_name="ide-orchestrator wake-ups",
            )
            try:
                connection.add_termination_listener(lambda _: lost.set())
                await connection.add_listener(CHANNEL, on_notification)
                self.connections += 1
                yield lost
            finally:
                connection.terminate()
