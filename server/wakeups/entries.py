"""A committed segment as an entry of a Redis stream, and back.

The id of an entry is `LAST-0`, after the segment's last seq. Its fields: `v` the version of this format, `f`
first seq, `e` epoch, `t` 1 for the terminal event, `b` batch, `r` deltas, `m` the proof that a replica wrote
it (proofs.py). An entry with neither `b` nor `r` is a hint to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.domain.journal.journal import JournalHead
from server.domain.journal.segments import Segment

VERSION = b"2"
#: Maximum bytes of an entry; of a larger segment only the hint is sent.
ENTRY_BYTES = 256 << 10


class PendingEntry:
    """One thread's part of the next publication: contiguous segments, which become one entry."""

    __slots__ = (
        "batches",
        "delta_batch",
        "epoch",
        "first_seq",
        "last_seq",
        "size_bytes",
        "terminal",
        "whole",
    )

    def __init__(self, first_seq: int) -> None:
        self.first_seq = first_seq
        self.last_seq = first_seq - 1
        self.batches: list[bytes] = []
        self.delta_batch: list[bytes] = []
        self.size_bytes = 0
        self.epoch = 0
        self.terminal = False
        #: Whether it has the bytes of its segments; otherwise it is only a hint.
        self.whole = True

    def add(self, segment: Segment, head: JournalHead, *, max_bytes: int) -> None:
        """Add the next segment; its bytes only if they fit in `max_bytes` and the entry stays small."""
        self.last_seq, self.epoch, self.terminal = segment.last_seq, head.epoch, segment.terminal
        size = len(segment.batch) + len(segment.delta_batch)
        if not self.whole:
            return
        if size > max_bytes or self.size_bytes + size > ENTRY_BYTES:
            self.whole = False
            self.batches, self.delta_batch, self.size_bytes = [], [], 0
            return
        self.batches.append(segment.batch)
        self.delta_batch.append(segment.delta_batch)
        self.size_bytes += size


def entry_of(pending: PendingEntry) -> dict[Any, Any]:
    """The fields of an entry without its proof, as bytes or numbers."""
    fields: dict[Any, Any] = {
        b"v": VERSION,
        b"f": pending.first_seq,
        b"e": pending.epoch,
        b"t": int(pending.terminal),
    }
    if pending.whole:
        fields |= {b"b": b"".join(pending.batches), b"r": b"".join(pending.delta_batch)}
    return fields


def segment_of(fields: Mapping[bytes, bytes], last_seq: int) -> tuple[Segment, JournalHead] | None:
    """The segment of an entry that has its proof, and the journal's head after it; None for a hint, and for
    another version."""
    if fields.get(b"v") != VERSION or b"b" not in fields:
        return None
    # Numbers are read as for the proof: the same number may be written in several ways.
    terminal = bool(int(fields[b"t"]))
    segment = Segment(int(fields[b"f"]), last_seq, fields[b"b"], fields.get(b"r", b""), terminal=terminal)
    return segment, JournalHead(last_seq, int(fields[b"e"]), 1, terminal)
