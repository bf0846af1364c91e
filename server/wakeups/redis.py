"""Wake-ups and the live window over a Redis-protocol server (ADR 0011).

1. Each thread has a capped, expiring stream. An entry is a committed segment with its head; its id is
   the segment's last seq. So a replica asks for what follows the seq that it knows, and a reader that
   joins a live run gets the newest events without a read of the database.
2. The journal is authoritative, and the server is not trusted. An entry that does not continue the topic, or
   was too large to be sent with its bytes, is only a hint to read. So is one without a replica's proof, and
   these hints are few, whatever their number. Answers are bounded (server/bounded_redis.py).
3. One task publishes what was committed during its previous pipeline, in a pipeline with one entry per
   thread. One task reads the streams of all remote threads with a blocking XREAD.
4. This process also has its own stream among those that it reads: an entry makes the XREAD return when
   there is a new remote thread, or carries the self-test.
5. One stream for all replicas carries the runtime's progress, and that runs were released.
6. While the server is unavailable, or answers nonsense, only hints are lost: `healthy` is false, and polling
   continues.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from typing_extensions import override

from server.bounded_redis import BoundedParser, bounded_parser
from server.domain.errors import DatabaseUnavailable
from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment
from server.domain.streams.wakeups import WakeupListener, Wakeups
from server.wakeups.entries import PendingEntry, entry_of
from server.wakeups.health import ANSWER_S, MAX_RETRY_S, SELF_TEST_S, CarrierHealth
from server.wakeups.payloads import RELEASED, progress_payloads_of
from server.wakeups.proofs import PROOF, Proofs
from server.wakeups.redis_reader import SHARED_STREAM, Reader, Received, malformed_as_away, stream_of

#: Approximate number of entries that a thread's stream keeps; the server trims whole nodes.
STREAM_ENTRIES = 64
#: Seconds after its last entry until a stream is dropped.
STREAM_TTL_S = 60
#: Maximum bytes of all entries that wait to be published; further ones are sent as hints.
MAX_PENDING_BYTES = 8 << 20
#: Shortest pause in seconds between two publications of a process.
PAUSE_S = 0.005
#: Bounds of what is read (30 of the largest entries; what is too much now is less after a pause, because
#: polling goes on), and of the answers to what is sent, which are ids.
_ENTRIES = bounded_parser(max_bytes=8 << 20, max_items=100_000)
_IDS = bounded_parser(max_bytes=1 << 20, max_items=20_000)

_AWAY = (RedisError, OSError, DatabaseUnavailable)


class RedisWakeups(Wakeups):
    """Wake-ups through Dragonfly, Valkey or Redis, for many replicas.

    url: redis:// or rediss://. The server sees every event. What it or its other users write is shown to
    nobody, and delays events by at most a poll. load_key: reads the key that replicas share, and the server
    does not know; may raise DatabaseUnavailable.
    """

    def __init__(
        self,
        url: str,
        load_key: Callable[[], Awaitable[bytes]],
        *,
        pause_s: float = PAUSE_S,
        self_test_s: float = SELF_TEST_S,
        answer_s: float = ANSWER_S,
        max_retry_s: float = MAX_RETRY_S,
    ) -> None:
        self._url, self._load_key = url, load_key
        self._proofs: Proofs | None = None
        self._pause_s, self._self_test_s, self._answer_s = pause_s, self_test_s, answer_s
        self._health = CarrierHealth(answer_s=answer_s, max_retry_s=max_retry_s)
        self._own_stream = b"ideo:replica:" + uuid4().hex.encode()
        self._pending: dict[UUID, PendingEntry] = {}
        self._pending_bytes = 0
        #: Newest progress text of each thread, and whether runs were released.
        self._progress: dict[UUID, str] = {}
        self._released = False
        self._work = asyncio.Event()
        #: Whether the reader must look at the remote threads again.
        self._wake_reader = False
        #: Pipelines that announced something since the start.
        self.publications = 0
        self.received = Received()

    @property
    @override
    def healthy(self) -> bool:
        return self._health.healthy

    @override
    def on_commit(self, thread_id: UUID, segment: Segment, head: JournalHead) -> None:
        if not self.healthy:
            # Nothing is kept for a server that is unavailable.
            return
        pending = self._pending.get(thread_id)
        before = pending.size_bytes if pending is not None else 0
        if pending is None or pending.last_seq + 1 != segment.first_seq:
            pending = self._pending[thread_id] = PendingEntry(segment.first_seq)
        pending.add(segment, head, max_bytes=MAX_PENDING_BYTES - self._pending_bytes)
        self._pending_bytes += pending.size_bytes - before
        self._work.set()

    @override
    def on_progress(self, thread_id: UUID, text: str) -> None:
        if self.healthy:
            self._progress[thread_id] = text
            self._work.set()

    @override
    def on_released(self) -> None:
        self._released = True
        self._work.set()

    @override
    def on_remote_thread(self) -> None:
        self._wake_reader = True
        self._work.set()

    @override
    async def run_forever(
        self, listener: WakeupListener, *, on_released: Callable[[], None] = lambda: None
    ) -> None:
        await self._health.run_sessions(lambda: self._session(listener, on_released), _AWAY)

    async def _session(self, listener: WakeupListener, on_released: Callable[[], None]) -> str:
        """Publish and read on two new connections until one fails. Raises _AWAY."""
        try:
            if self._proofs is None:
                self._proofs = Proofs(await self._load_key())
            async with self._client(_IDS) as sending, self._client(_ENTRIES) as reading:
                reader = Reader(
                    self._own_stream,
                    self._proofs,
                    self.received,
                    listener,
                    on_released=on_released,
                    on_nonce=self._health.on_nonce,
                )
                await _until_one_fails(
                    self._publish_forever(sending, self._proofs),
                    reader.read_forever(reading, self._answer_s),
                    self._test_forever(sending, self._proofs),
                )
        finally:
            self._pending, self._pending_bytes, self._progress = {}, 0, {}
        return ""

    @asynccontextmanager
    async def _client(self, parser: type[BoundedParser]) -> AsyncIterator[Redis]:
        """A client with one connection, which never retries by itself.

        Callers limit the time: the library's own timeouts use `asyncio.wait_for`, which sometimes loses a
        cancellation on Python 3.11.
        """
        client = Redis.from_url(
            self._url,
            single_connection_client=True,
            protocol=2,
            parser_class=parser,
            socket_timeout=None,
            socket_connect_timeout=self._answer_s,
            retry=Retry(NoBackoff(), 0),
            client_name="ide-orchestrator",
        )
        try:
            yield client
        finally:
            with contextlib.suppress(*_AWAY):
                if client.connection is not None:
                    # Otherwise it waits until the server has read what was sent.
                    await client.connection.disconnect(nowait=True)
                await client.aclose()

    # --- Announcing --------------------------------------------------------------------------

    async def _publish_forever(self, client: Redis, proofs: Proofs) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            pending, self._pending = self._pending, {}
            self._pending_bytes = 0
            wake_reader, self._wake_reader = self._wake_reader, False
            pipeline = client.pipeline(transaction=False)
            for thread_id, entry in pending.items():
                name, fields = stream_of(thread_id), entry_of(entry)
                fields[PROOF] = proofs.of_entry(thread_id, entry.last_seq, fields)
                pipeline.xadd(name, fields, f"{entry.last_seq}-0", maxlen=STREAM_ENTRIES)
                pipeline.expire(name, STREAM_TTL_S)
            if wake_reader:
                self._add_to_own_stream(pipeline, proofs, "")
            self._add_to_shared_stream(pipeline, proofs)
            # An entry that the server refuses (a duplicate, no memory) is only a lost hint.
            async with asyncio.timeout(self._answer_s):
                with malformed_as_away():
                    await pipeline.execute(raise_on_error=False)
            self.publications += bool(pending)
            await asyncio.sleep(self._pause_s)

    def _add_to_shared_stream(self, pipeline: Any, proofs: Proofs) -> None:
        progress, self._progress = self._progress, {}
        released, self._released = [RELEASED] if self._released else [], False
        for payload in (*released, *progress_payloads_of(progress)):
            pipeline.xadd(SHARED_STREAM, proofs.notice(payload.encode()), maxlen=STREAM_ENTRIES)
            pipeline.expire(SHARED_STREAM, STREAM_TTL_S)

    def _add_to_own_stream(self, pipeline: Any, proofs: Proofs, nonce: str) -> None:
        pipeline.xadd(self._own_stream, proofs.notice(nonce.encode()), maxlen=STREAM_ENTRIES)
        pipeline.expire(self._own_stream, STREAM_TTL_S)

    async def _test_forever(self, client: Redis, proofs: Proofs) -> None:
        """Test periodically whether the reader sees a nonce. Raises TimeoutError when it does not."""

        async def send(nonce: str) -> None:
            pipeline = client.pipeline(transaction=False)
            self._add_to_own_stream(pipeline, proofs, nonce)
            async with asyncio.timeout(self._answer_s):
                with malformed_as_away():
                    await pipeline.execute()

        while True:
            if not await self._health.self_test(send):
                raise TimeoutError
            await asyncio.sleep(self._self_test_s)


async def _until_one_fails(*parts: Coroutine[Any, Any, None]) -> None:
    """Run the parts until one raises, and raise that.

    Not a TaskGroup: before Python 3.13 it loses a cancellation that comes while a part fails, and the loop
    around this would then never end.
    """
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
