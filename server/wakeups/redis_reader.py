"""Reading the streams of other replicas, on a server that may answer anything."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import InvalidResponse

from server.domain.streams.wakeups import WakeupListener
from server.wakeups.entries import segment_of
from server.wakeups.payloads import RELEASED, progress_of
from server.wakeups.proofs import Proofs

#: The stream that all replicas read.
SHARED_STREAM = b"ideo:replicas"
#: Maximum number of a thread's entries in one read.
READ_ENTRIES = 64
#: Shortest pause in seconds after an answer without any entry from a replica.
SUSPECT_PAUSE_S = 0.05
#: Shortest time in seconds between two looks at the journal because of entries without a proof: as often as a
#: poll without wake-ups.
UNPROVEN_HINTS_S = 0.25

#: An entry of a stream: its id, the seq in it, its fields.
Entry: TypeAlias = tuple[bytes, int, dict[bytes, bytes]]

#: What the library raises for answers of another form than a command has.
_MALFORMED = (ValueError, TypeError, LookupError, AttributeError)
#: The highest number in an entry's id, which has 64 bits.
_LAST_PART = 2**64 - 1


def stream_of(thread_id: UUID) -> bytes:
    """The name of a thread's stream."""
    return b"ideo:tail:" + thread_id.hex.encode()


@dataclass(slots=True)
class Received:
    """What arrived since the start: entries with their bytes, entries that were hints only, and entries
    without a replica's proof."""

    segments: int = 0
    hints: int = 0
    unproven: int = 0


class Reader:
    """Reads the streams of the threads that a listener follows, and those of all replicas and of this one."""

    def __init__(
        self,
        own_stream: bytes,
        proofs: Proofs,
        received: Received,
        listener: WakeupListener,
        *,
        on_released: Callable[[], None],
        on_nonce: Callable[[str], object],
    ) -> None:
        self._own_stream, self._proofs = own_stream, proofs
        self._received, self._listener = received, listener
        self._on_released, self._on_nonce = on_released, on_nonce
        #: Where the streams of replicas are read from.
        self._next_ids: dict[bytes, bytes] = {own_stream: b"0-0", SHARED_STREAM: b"0-0"}
        #: Newest entry seen of each remote thread; the thread's known last seq may be lower.
        self._seen: dict[UUID, int] = {}
        #: When entries without a proof may be hints again, by the loop's clock.
        self._next_unproven = 0.0

    async def read_forever(self, client: Redis, answer_s: float) -> None:
        """Read until the connection breaks, or an answer is late or malformed. Raises RedisError, OSError."""
        now, block_s = asyncio.get_running_loop().time, answer_s / 2
        while True:
            began = now()
            async with asyncio.timeout(answer_s):
                with malformed_as_away():
                    answer = await client.xread(
                        self._cursors(), count=READ_ENTRIES, block=int(block_s * 1000)
                    )
                    entries_of = _entries_of(answer)
            if not self._take(entries_of) and now() - began < block_s / 2:
                await asyncio.sleep(SUSPECT_PAUSE_S)

    def _cursors(self) -> dict[Any, Any]:
        remote = self._listener.remote_threads()
        self._seen = {thread_id: max(seq, self._seen.get(thread_id, 0)) for thread_id, seq in remote.items()}
        # Behind every id with the seq: a replica's entry has `SEQ-0`, another's may have more of them.
        return self._next_ids | {
            stream_of(thread_id): f"{seq}-{_LAST_PART}" for thread_id, seq in self._seen.items()
        }

    def _take(self, entries_of: Mapping[bytes, Sequence[Entry]]) -> bool:
        """Take the entries of an answer. Returns whether a replica wrote one of them."""
        proven = False
        for stream, take in ((self._own_stream, self._on_nonce), (SHARED_STREAM, self._take_notice)):
            for entry_id, _, fields in entries_of.get(stream, ()):
                self._next_ids[stream] = entry_id
                if (payload := self._proofs.payload_of(fields)) is not None:
                    proven = True
                    take(payload.decode())
        for thread_id in self._seen:
            for _, last_seq, fields in entries_of.get(stream_of(thread_id), ()):
                self._seen[thread_id] = last_seq
                if self._proofs.hold_for_entry(thread_id, last_seq, fields):
                    proven = True
                    self._deliver(thread_id, last_seq, fields)
                else:
                    self._hint_without_proof(thread_id, last_seq)
        return proven

    def _take_notice(self, payload: str) -> None:
        if payload == RELEASED:
            self._on_released()
        for thread_id, text in progress_of(payload):
            self._listener.on_progress(thread_id, text)

    def _deliver(self, thread_id: UUID, last_seq: int, fields: Mapping[bytes, bytes]) -> None:
        received = segment_of(fields, last_seq)
        if received is None:
            self._received.hints += 1
            self._listener.on_wakeup(thread_id, last_seq)
        else:
            self._received.segments += 1
            self._listener.on_segment(thread_id, *received)

    def _hint_without_proof(self, thread_id: UUID, last_seq: int) -> None:
        """The previous release sends such entries during a rollout; anybody else may, too."""
        self._received.unproven += 1
        now = asyncio.get_running_loop().time()
        if now >= self._next_unproven:
            self._next_unproven = now + UNPROVEN_HINTS_S
            self._listener.on_wakeup(thread_id, last_seq)


@contextlib.contextmanager
def malformed_as_away() -> Iterator[None]:
    """Raise InvalidResponse for what the library, or this module, cannot read in an answer."""
    try:
        yield
    except _MALFORMED as error:
        raise InvalidResponse(f"the server answers in another form: {type(error).__name__}") from None


def _entries_of(answer: Any) -> dict[bytes, list[Entry]]:
    """The entries of an XREAD's answer by stream. Raises one of _MALFORMED for another form."""
    found: dict[bytes, list[Entry]] = {}
    for name, entries in answer or ():
        for entry_id, given in entries:
            fields = given or {}
            seq = _seq_of(entry_id)
            if not all(isinstance(part, bytes) for pair in fields.items() for part in pair):
                raise TypeError
            found.setdefault(name, []).append((entry_id, seq, fields))
    return found


def _seq_of(entry_id: bytes) -> int:
    """The seq in an entry's id. Raises ValueError, TypeError."""
    seq, _, rest = entry_id.partition(b"-")
    if not (seq.isdigit() and rest.isdigit() and int(seq) <= _LAST_PART and int(rest) <= _LAST_PART):
        raise ValueError
    return int(seq)
