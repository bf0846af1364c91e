"""Wake-ups over LISTEN and NOTIFY (ports.Wakeups; ADR 0011).

1. A commit only notes its thread; one task tells what was noted, at once after a quiet time and at most
   20 times a second. NOTIFY in the commit itself would make all commits wait for one lock.
2. It tells through the pool, and listens on a connection of its own, which must not go through a
   transaction pooler: a pooler takes LISTEN without an error and delivers nothing.
3. So hearing is tested, not believed: a nonce goes out through the pool now and then and has to come
   back. When it does not, the connection is made anew, for ever, and `healthy` says no meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from server.db.errors import database_errors
from server.domain.errors import DatabaseUnavailable
from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment
from server.domain.retry import Backoff
from server.domain.streams.wakeups import WakeupListener

_logger = logging.getLogger(__name__)

CHANNEL = "ideo_wakeups"
#: Bytes of one notification; PostgreSQL takes less than 8000.
PAYLOAD_BYTES = 7900
#: Least seconds between two publications of a process.
PAUSE_S = 0.05
#: Between two self-tests, and for one to pass.
SELF_TEST_S, ANSWER_S = 10.0, 5.0
#: Pauses between two tries to listen; they double from the first to the last.
RETRY_FIRST_S, MAX_RETRY_S = 0.1, 10.0
#: What a hint may fail with: it must not stop anything, whatever the database says to it.
AWAY = (DatabaseUnavailable, asyncpg.PostgresError)
#: Begins the payload of a self-test, which no hint does.
NONCE = "?"

_TELL = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload"


def payloads_of(news: Mapping[UUID, int]) -> Iterator[str]:
    """The hints as `thread:seq,thread:seq,…`, cut where a notification is full."""
    hints: list[str] = []
    size = 0
    for thread_id, last_seq in news.items():
        hint = f"{thread_id.hex}:{last_seq}"
        if hints and size + len(hint) > PAYLOAD_BYTES:
            yield ",".join(hints)
            hints, size = [], 0
        hints.append(hint)
        size += len(hint) + 1
    if hints:
        yield ",".join(hints)


def hints_of(payload: str) -> Iterator[tuple[UUID, int]]:
    """The hints of a payload; what is none is left out: anyone may notify on a channel."""
    for hint in payload.split(","):
        thread_id, _, last_seq = hint.partition(":")
        try:
            yield UUID(hex=thread_id), int(last_seq)
        except ValueError:
            continue


class PostgresWakeups:
    """Wake-ups through the database that the replicas share anyway."""

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
        self._max_retry_s = max_retry_s
        #: Newest seq of each thread that is still to be told.
        self._news: dict[UUID, int] = {}
        self._work = asyncio.Event()
        self._nonce = ""
        self._heard = asyncio.Event()
        self.healthy = False
        #: Statements that told something, and connections made to listen, since the start.
        self.publications = self.connections = 0

    def on_commit(self, thread_id: UUID, segment: Segment, head: JournalHead) -> None:
        """Note that the thread has come to `segment.last_seq`."""
        self._news[thread_id] = segment.last_seq
        self._work.set()

    def on_remote_thread(self) -> None:
        """Every thread is heard of as it is."""

    async def run_forever(self, listener: WakeupListener) -> None:
        """Tell and listen."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tell_forever(), name="wake-ups: tell")
            group.create_task(self._listen_forever(listener), name="wake-ups: listen")

    async def _tell_forever(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            news, self._news = self._news, {}
            try:
                await self._tell(list(payloads_of(news)))
                self.publications += 1
            except AWAY:
                # What was committed meanwhile is newer.
                self._news = {**news, **self._news}
                self._work.set()
            await asyncio.sleep(self._pause_s)

    async def _tell(self, payloads: list[str]) -> None:
        with database_errors():
            await self._pool.execute(_TELL, CHANNEL, payloads)

    # --- Listening ---------------------------------------------------------------------------

    async def _listen_forever(self, listener: WakeupListener) -> None:
        backoff = Backoff(RETRY_FIRST_S, self._max_retry_s)
        while True:
            why = "the connection was lost"
            try:
                async with self._listening(listener) as lost:
                    while await self._self_test():
                        self._set_healthy(True)
                        backoff.reset()
                        if await _within(lost, self._self_test_s):
                            break
                    else:
                        why = "the self-test failed: is DATABASE_DIRECT_URL the way through a pooler?"
            except AWAY as error:
                why = type(error).__name__
            self._set_healthy(False, why)
            await asyncio.sleep(backoff.next_pause_s())

    @asynccontextmanager
    async def _listening(self, listener: WakeupListener) -> AsyncIterator[asyncio.Event]:
        """A new connection that listens; the event is set when it breaks. Raises AWAY."""
        lost = asyncio.Event()

        def notified(_connection: Any, _pid: int, _channel: str, payload: str) -> None:
            if payload.startswith(NONCE):
                if payload == self._nonce:
                    self._heard.set()
                return
            for thread_id, last_seq in hints_of(payload):
                listener.on_hint(thread_id, last_seq)

        with database_errors():
            connection = await asyncpg.connect(
                self._dsn,
                timeout=self._answer_s,
                command_timeout=self._answer_s,
                statement_cache_size=0,
                server_settings={"application_name": "ide-orchestrator wake-ups"},
            )
            try:
                connection.add_termination_listener(lambda _: lost.set())
                await connection.add_listener(CHANNEL, notified)
                self.connections += 1
                yield lost
            finally:
                connection.terminate()

    async def _self_test(self) -> bool:
        """Whether what is told through the pool is heard on the connection."""
        self._nonce = f"{NONCE}{uuid4().hex}"
        self._heard.clear()
        await self._tell([self._nonce])
        return await _within(self._heard, self._answer_s)

    def _set_healthy(self, healthy: bool, why: str = "") -> None:
        if healthy != self.healthy:
            self.healthy = healthy
            if healthy:
                _logger.info("wakeups_arrive")
            else:
                _logger.warning("wakeups_do_not_arrive: %s", why)


async def _within(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event was set in time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
