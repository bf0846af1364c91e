"""Wake-ups and the live window over a Redis-protocol server (ports.Wakeups; ADR 0011).

1. Each thread has a capped, expiring stream. An entry is a committed segment with its head; its id is
   the segment's last seq. So a replica asks for what is behind the seq that it knows, and a reader
   that joins a live run gets the window without a read of the database.
2. The journal stays the truth. An entry that does not join up, is malformed, or came without its bytes
   because it was large, is only a hint to read.
3. One task publishes, in a pipeline: what came while the last pipeline was under way, one entry a
   thread. One task reads all awaited threads with a blocking XREAD.
4. A stream of this process's own, among those read, makes the XREAD return when a thread is added to
   the awaited, and carries the self-test.
5. While the server is away, nothing fails but the hints: `healthy` says no, and the poll carries on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment
from server.domain.retry import Backoff
from server.domain.streams.wakeups import WakeupListener
from server.wakeups.entries import PendingEntry, entry_of, segment_of

_logger = logging.getLogger(__name__)

#: Entries that a thread's stream keeps, about; the server trims it a node at a time.
STREAM_ENTRIES = 64
#: Seconds after its last entry that a stream is dropped.
STREAM_TTL_S = 60
#: Most bytes of all entries that wait to be published; beyond it they go as hints.
UNPUBLISHED_BYTES = 8 << 20
#: Least seconds between two publications of a process.
PAUSE_S = 0.005
#: Most entries of a thread in one read.
READ_ENTRIES = 64
#: Between two self-tests, and for an answer.
SELF_TEST_S, ANSWER_S = 10.0, 5.0
#: Pauses between two tries to connect; they double from the first to the last.
RETRY_FIRST_S, MAX_RETRY_S = 0.1, 10.0

_AWAY = (RedisError, OSError)


def stream_of(thread_id: UUID) -> bytes:
    """The name of a thread's stream."""
    return b"ideo:tail:" + thread_id.hex.encode()


class RedisWakeups:
    """Wake-ups through Dragonfly, Valkey or Redis, for many replicas.

    `url` is redis:// or rediss://. The server sees every event, and what it says is shown to clients:
    it belongs inside the hub's own trust.
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
        self._max_retry_s = max_retry_s
        self._own_stream = b"ideo:replica:" + uuid4().hex.encode()
        self._unpublished: dict[UUID, PendingEntry] = {}
        self._unpublished_bytes = 0
        self._work = asyncio.Event()
        #: Whether the reader is to look again at which threads are awaited.
        self._awaiting = False
        self._nonce = b""
        self._heard = asyncio.Event()
        self.healthy = False
        #: Pipelines that told something, entries received with their bytes, and entries that were hints
        #: only, since the start.
        self.publications = self.segments = self.hints = 0

    def on_commit(self, thread_id: UUID, segment: Segment, head: JournalHead) -> None:
        """Note the segment for the next publication. While the server is away, nothing is kept for it."""
        if not self.healthy:
            return
        waiting = self._unpublished.get(thread_id)
        before = waiting.size_bytes if waiting is not None else 0
        if waiting is None or waiting.last_seq + 1 != segment.first_seq:
            waiting = self._unpublished[thread_id] = PendingEntry(segment.first_seq)
        waiting.add(segment, head, room=UNPUBLISHED_BYTES - self._unpublished_bytes)
        self._unpublished_bytes += waiting.size_bytes - before
        self._work.set()

    def on_remote_thread(self) -> None:
        """Have the reader look again at which threads are awaited."""
        self._awaiting = True
        self._work.set()

    async def run_forever(self, listener: WakeupListener) -> None:
        """Tell and listen; both start anew when one fails."""
        backoff = Backoff(RETRY_FIRST_S, self._max_retry_s)
        while True:
            why = ""
            try:
                async with self._client() as sending, self._client() as reading:
                    await _until_one_fails(
                        self._publish_forever(sending),
                        self._read_forever(reading, listener),
                        self._test_forever(sending),
                    )
            except _AWAY as fault:
                why = type(fault).__name__
            if self.healthy:
                backoff.reset()
            self._set_healthy(False, why)
            self._unpublished, self._unpublished_bytes = {}, 0
            await asyncio.sleep(backoff.next_pause_s())

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[Redis]:
        """A client with one connection, which never tries again by itself.

        Callers keep the time: with a timeout of the library's own, `asyncio.wait_for` inside it loses
        a cancellation now and then on Python 3.11.
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

    # --- Telling -----------------------------------------------------------------------------

    async def _publish_forever(self, client: Redis) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            unpublished, self._unpublished = self._unpublished, {}
            self._unpublished_bytes = 0
            awaiting, self._awaiting = self._awaiting, False
            pipeline = client.pipeline(transaction=False)
            for thread_id, waiting in unpublished.items():
                name = stream_of(thread_id)
                pipeline.xadd(name, entry_of(waiting), f"{waiting.last_seq}-0", maxlen=STREAM_ENTRIES)
                pipeline.expire(name, STREAM_TTL_S)
            if awaiting:
                self._to_own_stream(pipeline, b"")
            # What the server refuses (an entry that it has already, no memory) is a hint less.
            async with asyncio.timeout(self._answer_s):
                await pipeline.execute(raise_on_error=False)
            self.publications += bool(unpublished)
            await asyncio.sleep(self._pause_s)

    def _to_own_stream(self, pipeline: Any, nonce: bytes) -> None:
        pipeline.xadd(self._own_stream, {b"n": nonce}, maxlen=STREAM_ENTRIES)
        pipeline.expire(self._own_stream, STREAM_TTL_S)

    async def _test_forever(self, client: Redis) -> None:
        """Send a nonce and expect the reader to see it, now and then. Raises when it does not."""
        while True:
            self._nonce = uuid4().hex.encode()
            self._heard.clear()
            pipeline = client.pipeline(transaction=False)
            self._to_own_stream(pipeline, self._nonce)
            async with asyncio.timeout(self._answer_s):
                await pipeline.execute()
                await self._heard.wait()
            self._set_healthy(True)
            await asyncio.sleep(self._self_test_s)

    # --- Listening ---------------------------------------------------------------------------

    async def _read_forever(self, client: Redis, listener: WakeupListener) -> None:
        own_id: bytes | str = "0-0"
        #: Newest entry seen of each awaited thread, which may be ahead of what is known of it.
        seen: dict[UUID, int] = {}
        block_ms = int(self._answer_s * 500)
        while True:
            awaited = listener.remote_threads()
            seen = {thread_id: max(seq, seen.get(thread_id, 0)) for thread_id, seq in awaited.items()}
            threads = {stream_of(thread_id): thread_id for thread_id in seen}
            places: dict[Any, Any] = {stream_of(thread_id): f"{seq}-0" for thread_id, seq in seen.items()}
            places[self._own_stream] = own_id
            async with asyncio.timeout(self._answer_s):
                answer: Any = await client.xread(places, count=READ_ENTRIES, block=block_ms)
            for name, entries in answer or ():
                if name == self._own_stream:
                    own_id = entries[-1][0]
                    if any(fields.get(b"n") == self._nonce for _, fields in entries):
                        self._heard.set()
                    continue
                thread_id = threads[name]
                for entry_id, fields in entries:
                    last_seq = seen[thread_id] = int(entry_id.partition(b"-")[0])
                    told = segment_of(fields, last_seq)
                    if told is None:
                        self.hints += 1
                        listener.on_hint(thread_id, last_seq)
                    else:
                        self.segments += 1
                        listener.on_segment(thread_id, *told)

    def _set_healthy(self, healthy: bool, why: str = "") -> None:
        if healthy != self.healthy:
            self.healthy = healthy
            if healthy:
                _logger.info("wakeups_arrive")
            else:
                _logger.warning("wakeups_do_not_arrive: %s", why)


async def _until_one_fails(*parts: Coroutine[Any, Any, None]) -> None:
    """Run the parts until one raises; raise that. A TaskGroup that is cancelled while a part of it
    fails forgets the cancellation (before Python 3.13), and this runs in a loop that goes on."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
