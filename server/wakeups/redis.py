"""Wake-ups and the live window over a Redis-protocol server (ADR 0011).

1. Each thread has a capped, expiring stream. An entry is a committed segment with its head; its id is
   the segment's last seq. So a replica asks for what follows the seq that it knows, and a reader that
   joins a live run gets the newest events without a read of the database.
2. The journal is authoritative. An entry that does not continue the topic, is malformed, or was too large
   to be sent with its bytes, is only a hint to read.
3. One task publishes what was committed during its previous pipeline, in a pipeline with one entry per
   thread. One task reads the streams of all remote threads with a blocking XREAD.
4. This process also has its own stream among those that it reads: an entry makes the XREAD return when
   there is a new remote thread, or carries the self-test.
5. One stream for all replicas carries the runtime's progress, and that runs were released.
6. While the server is unavailable, only hints are lost: `healthy` is false, and polling continues.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from typing_extensions import override

from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment
from server.domain.streams.wakeups import WakeupListener, Wakeups
from server.wakeups.entries import PendingEntry, entry_of, segment_of
from server.wakeups.health import ANSWER_S, MAX_RETRY_S, SELF_TEST_S, CarrierHealth
from server.wakeups.payloads import RELEASED, progress_of, progress_payloads_of

#: The stream that all replicas read.
SHARED_STREAM = b"ideo:replicas"
#: Approximate number of entries that a thread's stream keeps; the server trims whole nodes.
STREAM_ENTRIES = 64
#: Seconds after its last entry until a stream is dropped.
STREAM_TTL_S = 60
#: Maximum bytes of all entries that wait to be published; further ones are sent as hints.
MAX_PENDING_BYTES = 8 << 20
#: Shortest pause in seconds between two publications of a process.
PAUSE_S = 0.005
#: Maximum number of a thread's entries in one read.
READ_ENTRIES = 64

_AWAY = (RedisError, OSError)


def stream_of(thread_id: UUID) -> bytes:
    """The name of a thread's stream."""
    return b"ideo:tail:" + thread_id.hex.encode()


class RedisWakeups(Wakeups):
    """Wake-ups through Dragonfly, Valkey or Redis, for many replicas.

    `url` is redis:// or rediss://. The server sees every event, and what it sends is shown to clients: it
    must be as trusted as the hub itself.
    """

    def __init__(
        self,
        url: str,
        *,
        pause_s: float = PAUSE_S,
        self_test_s: float = SELF_TEST_S,
        answer_s: float = ANSWER_S,
        max_retry_s: float = MAX_RETRY_S,
    ) -> None:
        self._url = url
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
        #: Pipelines that announced something, entries received with their bytes, and entries that were
        #: hints only, since the start.
        self.publications = self.segments = self.hints = 0

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
            async with self._client() as sending, self._client() as reading:
                await _until_one_fails(
                    self._publish_forever(sending),
                    self._read_forever(reading, listener, on_released),
                    self._test_forever(sending),
                )
        finally:
            self._pending, self._pending_bytes, self._progress = {}, 0, {}
        return ""

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[Redis]:
        """A client with one connection, which never retries by itself.

        Callers limit the time: the library's own timeouts use `asyncio.wait_for`, which sometimes loses a
        cancellation on Python 3.11.
        """
        client = Redis.from_url(
            self._url,
            single_connection_client=True,
            protocol=2,
            socket_timeout=None,
            socket_connect_timeout=self._answer_s,
            retry=Retry(NoBackoff(), 0),
            client_name="ide-orchestrator",
        )
        try:
            yield client
        finally:
            with contextlib.suppress(*_AWAY):
                await client.aclose()

    # --- Announcing --------------------------------------------------------------------------

    async def _publish_forever(self, client: Redis) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            pending, self._pending = self._pending, {}
            self._pending_bytes = 0
            wake_reader, self._wake_reader = self._wake_reader, False
            pipeline = client.pipeline(transaction=False)
            for thread_id, entry in pending.items():
                name = stream_of(thread_id)
                pipeline.xadd(name, entry_of(entry), f"{entry.last_seq}-0", maxlen=STREAM_ENTRIES)
                pipeline.expire(name, STREAM_TTL_S)
            if wake_reader:
                self._add_to_own_stream(pipeline, "")
            self._add_to_shared_stream(pipeline)
            # An entry that the server refuses (a duplicate, no memory) is only a lost hint.
            async with asyncio.timeout(self._answer_s):
                await pipeline.execute(raise_on_error=False)
            self.publications += bool(pending)
            await asyncio.sleep(self._pause_s)

    def _add_to_shared_stream(self, pipeline: Any) -> None:
        progress, self._progress = self._progress, {}
        released, self._released = [RELEASED] if self._released else [], False
        for payload in (*released, *progress_payloads_of(progress)):
            pipeline.xadd(SHARED_STREAM, {b"p": payload.encode()}, maxlen=STREAM_ENTRIES)
            pipeline.expire(SHARED_STREAM, STREAM_TTL_S)

    def _add_to_own_stream(self, pipeline: Any, nonce: str) -> None:
        pipeline.xadd(self._own_stream, {b"n": nonce.encode()}, maxlen=STREAM_ENTRIES)
        pipeline.expire(self._own_stream, STREAM_TTL_S)

    async def _test_forever(self, client: Redis) -> None:
        """Test periodically whether the reader sees a nonce. Raises TimeoutError when it does not."""

        async def send(nonce: str) -> None:
            pipeline = client.pipeline(transaction=False)
            self._add_to_own_stream(pipeline, nonce)
            async with asyncio.timeout(self._answer_s):
                await pipeline.execute()

        while True:
            if not await self._health.self_test(send):
                raise TimeoutError
            await asyncio.sleep(self._self_test_s)

    # --- Listening ---------------------------------------------------------------------------

    async def _read_forever(
        self, client: Redis, listener: WakeupListener, on_released: Callable[[], None]
    ) -> None:
        own_id: bytes | str = "0-0"
        shared_id: bytes | str = "0-0"
        #: Newest entry seen of each remote thread; the thread's known last seq may be lower.
        seen: dict[UUID, int] = {}
        block_ms = int(self._answer_s * 500)
        while True:
            remote = listener.remote_threads()
            seen = {thread_id: max(seq, seen.get(thread_id, 0)) for thread_id, seq in remote.items()}
            cursors: dict[Any, Any] = {stream_of(thread_id): f"{seq}-0" for thread_id, seq in seen.items()}
            cursors[self._own_stream], cursors[SHARED_STREAM] = own_id, shared_id
            async with asyncio.timeout(self._answer_s):
                answer: Any = await client.xread(cursors, count=READ_ENTRIES, block=block_ms)
            entries_of = dict(answer or ())
            for entry_id, fields in entries_of.pop(self._own_stream, ()):
                own_id = entry_id
                self._health.on_nonce(fields.get(b"n", b"").decode(errors="replace"))
            for entry_id, fields in entries_of.pop(SHARED_STREAM, ()):
                shared_id = entry_id
                if (payload := fields.get(b"p", b"").decode(errors="replace")) == RELEASED:
                    on_released()
                for thread_id, text in progress_of(payload):
                    listener.on_progress(thread_id, text)
            for thread_id in seen:
                entries = entries_of.get(stream_of(thread_id))
                if entries:
                    seen[thread_id] = self._deliver(thread_id, entries, listener)

    def _deliver(
        self,
        thread_id: UUID,
        entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]],
        listener: WakeupListener,
    ) -> int:
        """Pass a thread's entries to the listener. Returns the seq of the last one."""
        last_seq = 0
        for entry_id, fields in entries:
            last_seq = int(entry_id.partition(b"-")[0])
            received = segment_of(fields, last_seq)
            if received is None:
                self.hints += 1
                listener.on_wakeup(thread_id, last_seq)
            else:
                self.segments += 1
                listener.on_segment(thread_id, *received)
        return last_seq


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
